//! Enumerations whose values are words: in JSON, in the store, in messages and in filters the same.

/// Defines an enumeration with the word of each value.
macro_rules! words {
    (
        $(#[$doc:meta])*
        $name:ident is $component:literal, $field:literal {
            $($(#[$own:meta])* $value:ident = $word:literal,)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$own])* $value),+ }

        impl $name {
            /// All values.
            pub const ALL: &[Self] = &[$(Self::$value),+];

            /// Returns the word.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$value => $word),+ }
            }

            /// Reads a word.
            ///
            /// # Errors
            /// `Invalid` for any other word; the message lists all.
            pub fn read(text: &str) -> Result<Self, $crate::domain::Error> {
                Self::ALL.iter().copied().find(|value| value.name() == text).ok_or_else(|| {
                    let all = Self::ALL.iter().map(|value| value.name()).collect::<Vec<_>>().join(", ");
                    $crate::domain::Error::invalid($field, format!("is not one of {all}"))
                })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(from)?;
                Self::read(&text).map_err(|error| $crate::json::values::refusal(&error))
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                $crate::json::values::choice(Self::ALL.iter().map(|value| value.name()), $component).into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
        }
    };
}

pub(in crate::registry) use words;
