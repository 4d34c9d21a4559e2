//! Makes Rust of the .proto files. protox reads and links them in pure Rust: no protoc, on any machine.
//!
//! Servers, clients without a transport of their own, and the descriptor set that reflection serves. What must hold:
//! no message that carries a secret can be printed, so that none slips into a log.

use std::path::{Path, PathBuf};
use std::{env, error, fs};

use tonic_prost_build::FileDescriptorSet;

const ROOT: &str = "proto";
const FOLDER: &str = "signalbox/v1";
/// The fields that hold secrets; in the .proto files, they are marked `debug_redact`.
const SECRETS: [&str; 2] = ["session_id", "token"];

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo::rerun-if-changed={ROOT}");
    println!("cargo::rerun-if-changed=migrations");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new([ROOT])?;
    compiler.include_imports(true).include_source_info(true).open_files(protos()?)?;
    fs::write(out.join("signalbox.v1.bin"), compiler.encode_file_descriptor_set())?;
    let descriptors = compiler.file_descriptor_set();
    tonic_prost_build::configure()
        .build_transport(false)
        .btree_map(".signalbox.v1.RouteStats.status_codes")
        .skip_debug(secretive(&descriptors))
        .compile_fds(descriptors)?;
    Ok(())
}

fn protos() -> Result<Vec<PathBuf>, Box<dyn error::Error>> {
    let entries = fs::read_dir(Path::new(ROOT).join(FOLDER))?;
    let names = entries.map(|entry| Ok(Path::new(FOLDER).join(entry?.file_name())));
    let mut names = names.collect::<Result<Vec<PathBuf>, std::io::Error>>()?;
    names.sort();
    Ok(names)
}

/// The messages with a field that is a secret.
fn secretive(descriptors: &FileDescriptorSet) -> Vec<String> {
    let messages = descriptors.file.iter().flat_map(|file| &file.message_type);
    let secretive = messages.filter(|message| message.field.iter().any(|field| SECRETS.contains(&field.name())));
    secretive.map(|message| format!(".signalbox.v1.{}", message.name())).collect()
}
