//! What follows a route: the conditions of a question, as a form's text.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Nothing, or a `?` and the conditions.
pub(crate) fn to_text(query: &impl Serialize) -> String {
    // Every field is a number or a text, so this cannot fail.
    let text = serde_urlencoded::to_string(query).unwrap_or_default();
    match text.is_empty() {
        true => text,
        false => format!("?{text}"),
    }
}

/// Reads what follows the `?`; the error is a sentence for people.
pub(crate) fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_urlencoded::from_str(text).map_err(|error| error.to_string())
}
