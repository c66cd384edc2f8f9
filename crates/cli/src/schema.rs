//! `dirigo schema`: the JSON Schema of the configuration, for editors.

use std::process::ExitCode;

/// Made from the keys and the page that explains them, which a test of the room `config` compares.
const SCHEMA: &str = include_str!("../../../docs/dirigo.schema.json");

/// Prints it.
pub fn main() -> ExitCode {
    data!("{}", SCHEMA.trim_end());
    ExitCode::SUCCESS
}
