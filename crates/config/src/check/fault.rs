//! What can be wrong with checks and their use.

use crate::limits;
use crate::mistake::{Place, Quoted};

/// What can be wrong with a check, or with a service's use of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence beside each variant says it")]
pub enum CheckFault {
    #[error("check \"{name}\" is already defined in {first}: give one of the two another name")]
    Twice { name: Quoted, first: Place },
    #[error("a check's name cannot be empty: write for example name = \"web\"")]
    NoName,
    #[error(
        "this is check number {number}, but there is room for {}: let services share checks",
        limits::CHECKS
    )]
    TooMany { number: usize },
    #[error(
        "`{key}` means nothing to a check of type \"{kind}\": leave it out, or set type to one of {kinds}"
    )]
    OtherKind {
        key: &'static str,
        kind: &'static str,
        kinds: String,
    },
    #[error("\"{found}\" is no time from {min} to {max}: write for example {key} = {example}")]
    Time {
        key: &'static str,
        found: Quoted,
        min: &'static str,
        max: &'static str,
        example: &'static str,
    },
    #[error(
        "a timeout of {timeout} ms is longer than the interval of {interval} ms, so attempts would overlap: write a shorter timeout or a longer interval"
    )]
    TimeoutTooLong { timeout: u128, interval: u128 },
    #[error("`{key}` = \"{pattern}\" is no regular expression: {problem}")]
    Pattern {
        key: &'static str,
        pattern: Quoted,
        problem: String,
    },
    #[error(
        "\"{found}\" is no HTTP status and no range of them: write for example \"200-299\" or \"301\""
    )]
    Status { found: Quoted },
    #[error(
        "\"{found}\" is no MD5 digest: write its 32 hexadecimal digits, as md5sum and keepalived's genhash print them"
    )]
    Digest { found: Quoted },
    #[error("\"{found}\" is no path: begin it with a slash")]
    Path { found: Quoted },
    #[error(
        "\"{found}\" is no word of HTTP for `{key}`: it has characters that a request cannot carry"
    )]
    NotHttp { key: &'static str, found: Quoted },
    #[error("a script does not run as root: name another user, who owns what it reads")]
    Root,
    #[error(
        "the command is empty: write the program and its arguments, for example command = [\"/usr/local/bin/check\"]"
    )]
    NoCommand,
    #[error("there is no check \"{name}\": {advice}")]
    Unknown { name: Quoted, advice: String },
    #[error(
        "`{key}` says what happens when checks fail, but the service has none: add checks = [\"NAME\"]"
    )]
    NothingToDo { key: &'static str },
    #[error(
        "a sorry server is no destination of the same service: name another host, or leave it out of the destinations"
    )]
    SorryIsDestination,
    #[error(
        "check \"{name}\" goes to the virtual address, and mark {mark} has no rule with a single one: write to = \"own\" in the check, or a [[mark]] with one address first"
    )]
    MarkWithoutAddress { name: Quoted, mark: u32 },
    #[error(
        "check \"{name}\" has no port, and the rules of mark {mark} do not say a single one: write port = 80 in the check"
    )]
    MarkWithoutPort { name: Quoted, mark: u32 },
    #[error(
        "hysteresis {hysteresis} is not below quorum {quorum}, so the quorum could never be lost before the last server: write a smaller one"
    )]
    Hysteresis { hysteresis: u32, quorum: u32 },
}
