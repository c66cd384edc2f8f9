//! What can be wrong with what is defined once, or with its use.

use std::net::IpAddr;

use crate::limits;
use crate::mistake::{Place, Quoted};

/// What can be wrong with a real server, a template, or the use of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence beside each variant says it")]
pub enum SharedFault {
    #[error(
        "real server \"{name}\" is already defined in {first}: give one of the two another name"
    )]
    ServerTwice { name: Quoted, first: Place },
    #[error("a real server's name cannot be empty: write for example name = \"rs1\"")]
    NoName,
    #[error(
        "a real server's name cannot be an address, as \"{name}\" is: write for example name = \"rs1\""
    )]
    NameIsAddress { name: Quoted },
    #[error(
        "this is real server number {number}, but the data plane has room for {}: split them over two directors",
        limits::DESTINATIONS
    )]
    TooManyServers { number: usize },
    #[error(
        "{address} is already the address of real server \"{other}\", in {first}: let services use that one"
    )]
    AddressTwice {
        address: IpAddr,
        other: Quoted,
        first: Place,
    },
    #[error(
        "a real server has no port, because direct routing keeps that of each service: write \"{address}\""
    )]
    ServerPort { address: IpAddr },
    #[error("there is no real server \"{name}\": {advice}")]
    NoServer { name: Quoted, advice: String },
    #[error("a destination has either `address` or `real_server`: leave one of them out")]
    AddressAndServer,
    #[error("template \"{name}\" is already defined in {first}: give one of the two another name")]
    TemplateTwice { name: Quoted, first: Place },
    #[error("there is no template \"{name}\": {advice}")]
    NoTemplate { name: Quoted, advice: String },
    #[error(
        "real server {address} is in none of the director's `subnets`, but direct routing changes only MAC addresses, so the server must be on a link of the director's: connect it there, or add its network to `subnets` in [director]"
    )]
    OffLink { address: IpAddr },
}
