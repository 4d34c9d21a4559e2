//! The values that are bound to statements, and the error of a row that cannot be read.

use std::sync::Arc;

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArgumentsBuffer, SqliteTypeInfo};
use sqlx::{Encode, Sqlite, Type};

/// A value to bind to a statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Int(i64),
    Text(Arc<str>),
}

impl Value {
    /// Copies a text.
    pub(super) fn text(text: &str) -> Self {
        Value::Text(text.into())
    }
}

impl Type<Sqlite> for Value {
    fn type_info() -> SqliteTypeInfo {
        <str as Type<Sqlite>>::type_info()
    }

    fn compatible(_: &SqliteTypeInfo) -> bool {
        true
    }
}

impl<'q> Encode<'q, Sqlite> for Value {
    fn encode(self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(number) => Encode::<'q, Sqlite>::encode(number, buffer),
            Value::Text(text) => Encode::<'q, Sqlite>::encode(text, buffer),
        }
    }

    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        self.clone().encode(buffer)
    }
}

/// The reason why a row of a session, its maintenance or its pending requests cannot be read.
pub(super) type RowError = Box<dyn std::error::Error + Send + Sync>;
