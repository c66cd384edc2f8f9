//! What holds for all connections.

use serde::{Deserialize, Serialize};

/// `ipvsadm -L --timeout`, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// Established TCP.
    pub tcp: u32,
    /// TCP after the client's FIN.
    pub tcpfin: u32,
    /// UDP.
    pub udp: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp: 900,
            tcpfin: 120,
            udp: 300,
        }
    }
}

/// Connection behaviour, named and by default as IPVS's settings of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// A connection of a deleted destination ends with its next packet, which may begin another.
    pub expire_nodest_conn: bool,
    /// A client of a drained destination gets another one.
    pub expire_quiescent_template: bool,
    /// TCP connections begin with any segment but RST.
    pub sloppy_tcp: bool,
    /// SCTP associations begin with any packet but ABORT.
    #[serde(default)]
    pub sloppy_sctp: bool,
    /// When a client begins anew on the same ports: 0 keeps its destination, 1 chooses again after
    /// the connection's end, 2 also while it ends.
    pub conn_reuse_mode: u32,
    /// How long `lblc` remembers an address that nobody asks for, in seconds.
    #[serde(default = "a_day")]
    pub lblc_expiration: u32,
    /// The same for `lblcr`, and how long an unchanged set keeps its most loaded member.
    #[serde(default = "a_day")]
    pub lblcr_expiration: u32,
}

fn a_day() -> u32 {
    86_400
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            expire_nodest_conn: false,
            expire_quiescent_template: false,
            sloppy_tcp: false,
            sloppy_sctp: false,
            conn_reuse_mode: 1,
            lblc_expiration: a_day(),
            lblcr_expiration: a_day(),
        }
    }
}
