//! Compiles KEDA's protocol to Rust, without protoc.

use std::path::PathBuf;
use std::{env, error, fs};

use prost::Message;

#[expect(clippy::disallowed_methods, reason = "cargo speaks to build scripts through the environment")]
fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["externalscaler.proto"], ["proto"])?;
    // Reflection and the test that compares our proto with KEDA's read the descriptors back.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("externalscaler.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .btree_map(".")
        .codec_path("crate::scaler::codec::Codec")
        .compile_fds(descriptors)?;
    Ok(())
}
