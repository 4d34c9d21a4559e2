//! Reflection (`grpc.reflection.v1`): describes the interface to tools that do not have its `.proto` files.
//!
//! Invariants: an unknown name gets an error, and the stream continues; a stream holds one request at a time.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest,
    ServerReflectionResponse, ServiceResponse,
};
use tonic_reflection::server::v1::ServerReflection;

use super::proto;

/// The service that describes the interface.
#[derive(Clone, Debug)]
pub(super) struct Reflection;

/// The files of this server. They are read when first asked for, so that a start does not wait for them.
static FILES: LazyLock<DescriptorFiles> = LazyLock::new(|| {
    let sets = [
        proto::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_types::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    DescriptorFiles::read(&sets).unwrap_or_else(|error| {
        // Cannot happen: the descriptors are compiled in.
        tracing::error!(%error, "gRPC reflection knows no files");
        DescriptorFiles::default()
    })
});

/// An index of descriptor files by name and by the symbols that they declare.
#[derive(Debug, Default)]
struct DescriptorFiles {
    files: BTreeMap<String, Bytes>,
    symbols: BTreeMap<String, Symbol>,
}

/// A symbol that a file declares.
#[derive(Clone, Debug)]
struct Symbol {
    file: Bytes,
    kind: SymbolKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SymbolKind {
    Service,
    Message,
    Other,
}

fn answer(asked: Result<ServerReflectionRequest, Status>) -> Result<ServerReflectionResponse, Status> {
    let asked = asked?;
    let answer = FILES.answer(asked.message_request.as_ref()).unwrap_or_else(|(code, message)| {
        MessageResponse::ErrorResponse(ErrorResponse { error_code: code.into(), error_message: message })
    });
    Ok(ServerReflectionResponse {
        valid_host: asked.host.clone(),
        original_request: Some(asked),
        message_response: Some(answer),
    })
}

impl DescriptorFiles {
    /// Reads the files of encoded descriptor sets. If several sets contain a file, the first one counts.
    ///
    /// # Errors
    /// If one is no descriptor set.
    fn read(sets: &[&[u8]]) -> Result<Self, prost::DecodeError> {
        let mut all = Self::default();
        for set in sets {
            for file in FileDescriptorSet::decode(*set)?.file {
                if !all.files.contains_key(file.name()) {
                    all.add(&file);
                }
            }
        }
        Ok(all)
    }

    fn add(&mut self, file: &FileDescriptorProto) {
        let encoded = Bytes::from(file.encode_to_vec());
        self.files.insert(file.name().to_owned(), encoded.clone());
        let package = file.package();
        let mut declare = |name: String, kind| {
            self.symbols.insert(name, Symbol { file: encoded.clone(), kind });
        };
        for message in &file.message_type {
            declare_message(package, message, &mut declare);
        }
        for list in &file.enum_type {
            declare_enum(package, list, &mut declare);
        }
        for service in &file.service {
            let name = joined(package, service.name());
            service.method.iter().for_each(|method| declare(joined(&name, method.name()), SymbolKind::Other));
            declare(name, SymbolKind::Service);
        }
        file.extension.iter().for_each(|field| declare(joined(package, field.name()), SymbolKind::Other));
    }

    fn answer(&self, question: Option<&MessageRequest>) -> Result<MessageResponse, (Code, String)> {
        let file = |found: Option<&Bytes>, what: String| match found {
            Some(file) => {
                let file_descriptor_proto = vec![file.to_vec()];
                Ok(MessageResponse::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto }))
            }
            None => Err((Code::NotFound, what)),
        };
        match question {
            None => Err((Code::InvalidArgument, "message_request: is missing".to_owned())),
            Some(MessageRequest::FileByFilename(name)) => {
                file(self.files.get(name), format!("there is no file {}", shortened(name)))
            }
            Some(MessageRequest::FileContainingSymbol(name)) => {
                let found = self.symbols.get(name).map(|symbol| &symbol.file);
                file(found, format!("there is no symbol {}", shortened(name)))
            }
            Some(MessageRequest::FileContainingExtension(_)) => {
                Err((Code::NotFound, "there is no such extension".to_owned()))
            }
            Some(MessageRequest::AllExtensionNumbersOfType(name)) => match self.symbols.get(name) {
                Some(Symbol { kind: SymbolKind::Message, .. }) => {
                    let none = ExtensionNumberResponse { base_type_name: name.clone(), extension_number: Vec::new() };
                    Ok(MessageResponse::AllExtensionNumbersResponse(none))
                }
                _ => Err((Code::NotFound, format!("there is no message {}", shortened(name)))),
            },
            Some(MessageRequest::ListServices(_)) => {
                let services = self.symbols.iter().filter(|(_, symbol)| symbol.kind == SymbolKind::Service);
                let service = services.map(|(name, _)| ServiceResponse { name: name.clone() }).collect();
                Ok(MessageResponse::ListServicesResponse(ListServiceResponse { service }))
            }
        }
    }
}

fn declare_message(scope: &str, message: &DescriptorProto, declare: &mut impl FnMut(String, SymbolKind)) {
    let name = joined(scope, message.name());
    // The recursion is bounded: the files are compiled in.
    message.nested_type.iter().for_each(|nested| declare_message(&name, nested, declare));
    message.enum_type.iter().for_each(|list| declare_enum(&name, list, declare));
    message.field.iter().for_each(|field| declare(joined(&name, field.name()), SymbolKind::Other));
    message.oneof_decl.iter().for_each(|choice| declare(joined(&name, choice.name()), SymbolKind::Other));
    declare(name, SymbolKind::Message);
}

/// Declares an enum and its values. The values belong to the scope of the enum, not to the enum.
fn declare_enum(scope: &str, list: &EnumDescriptorProto, declare: &mut impl FnMut(String, SymbolKind)) {
    list.value.iter().for_each(|value| declare(joined(scope, value.name()), SymbolKind::Other));
    declare(joined(scope, list.name()), SymbolKind::Other);
}

fn joined(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

/// Returns the part of a name that an error repeats.
fn shortened(name: &str) -> String {
    name.chars().take(200).collect()
}

#[tonic::async_trait]
impl ServerReflection for Reflection {
    type ServerReflectionInfoStream = Pin<Box<dyn Stream<Item = Result<ServerReflectionResponse, Status>> + Send>>;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        Ok(Response::new(Box::pin(request.into_inner().map(answer))))
    }
}
