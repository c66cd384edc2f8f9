//! Decisions as pcapng, for Wireshark and tshark.
//!
//! ```text
//! section │ interface eth0 │ … │ packet as it came │ packet as it left │ …
//!                                 inbound             outbound            epb_flags
//!                                 XDP_TX              the same            epb_verdict, Linux eBPF XDP
//!                                                     the decision        comment
//! ```
//!
//! A frame that does not leave has its verdict and its comment on the packet as it came.
//! draft-ietf-opsawg-pcapng §4.3.1.

use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;

use api::{TraceFrame, TraceHop, Verdict};
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::opt_common::{CommonOption, UnknownOption};

use crate::line::decision;

/// Number of the option `epb_verdict`.
const EPB_VERDICT: u16 = 7;
/// Its first byte for a verdict of a Linux XDP program.
const LINUX_XDP: u8 = 2;

/// Writes decisions.
pub struct Writer<W: Write> {
    file: PcapNgWriter<W>,
    interfaces: Vec<String>,
    snap: u32,
}

impl<W: Write> Writer<W> {
    /// Begins a file whose packets have at most `snap` bytes.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn new(file: W, snap: u32) -> std::io::Result<Self> {
        Ok(Self {
            file: PcapNgWriter::new(file).map_err(std::io::Error::other)?,
            interfaces: Vec::new(),
            snap,
        })
    }

    /// Writes a decision: one packet, or two when the frame left again.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or has no bytes of the frame.
    pub fn write(&mut self, frame: &TraceFrame) -> std::io::Result<()> {
        const INBOUND: u32 = 1;
        const OUTBOUND: u32 = 2;
        let comment = decision(frame);
        let before = frame.after.is_none().then_some(comment.as_str());
        self.packet(frame, &frame.before, &frame.interface, INBOUND, before)?;
        if let Some(after) = &frame.after {
            let egress = frame.egress.as_deref().unwrap_or(&frame.interface);
            self.packet(frame, after, egress, OUTBOUND, Some(&comment))?;
        }
        Ok(())
    }

    /// Gives the file back, flushed.
    ///
    /// # Errors
    ///
    /// When it cannot be flushed.
    pub fn flush(&mut self) -> std::io::Result<()> {
        self.file.get_mut().flush()
    }

    fn packet(
        &mut self,
        frame: &TraceFrame,
        hop: &TraceHop,
        interface: &str,
        direction: u32,
        comment: Option<&str>,
    ) -> std::io::Result<()> {
        let interface_id = self.interface(interface)?;
        let data = bytes(&hop.hex)
            .ok_or_else(|| std::io::Error::other("the bytes of the frame are missing"))?;
        let mut verdict = vec![LINUX_XDP];
        verdict.extend(action(frame.verdict).to_le_bytes());
        let common = EnhancedPacketOption::Common;
        let mut options = vec![
            EnhancedPacketOption::Flags(direction),
            common(CommonOption::Unknown(UnknownOption::new(
                EPB_VERDICT,
                &verdict,
            ))),
        ];
        if let Some(comment) = comment {
            options.push(common(CommonOption::Comment(Cow::Borrowed(comment))));
        }
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(frame.time_ns),
            original_len: hop.len.max(data.len() as u32),
            data: Cow::Owned(data),
            options,
        };
        let written = self.file.write_pcapng_block(block);
        written.map(drop).map_err(std::io::Error::other)
    }

    /// The number of an interface in the file, which is told of when it is met first.
    fn interface(&mut self, name: &str) -> std::io::Result<u32> {
        if let Some(number) = self.interfaces.iter().position(|one| one == name) {
            return Ok(number as u32);
        }
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: self.snap,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
            ],
        };
        let written = self.file.write_pcapng_block(block);
        written.map_err(std::io::Error::other)?;
        self.interfaces.push(name.to_owned());
        Ok(self.interfaces.len() as u32 - 1)
    }
}

/// What the XDP program returned, `enum xdp_action`.
fn action(verdict: Verdict) -> u64 {
    match verdict {
        Verdict::Drop => 1,
        Verdict::Pass => 2,
        Verdict::Transmit | Verdict::Reply => 3,
        Verdict::Redirect => 4,
    }
}

/// Hexadecimal text as bytes; `None` when it is none, or empty.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    let digit = |byte: &u8| (*byte as char).to_digit(16);
    let read = pairs.map(|pair| match pair {
        [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
        _ => None,
    });
    read.collect::<Option<Vec<u8>>>()
        .filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::captures::Capture;
    use crate::line::tests::sent;

    #[test]
    fn a_decision_is_read_back_as_the_frame_that_came_and_the_one_that_left() {
        let mut frame = sent();
        frame.before.hex = "020000000002".repeat(10);
        let after = frame.after.as_mut().unwrap();
        after.hex = "020000000003".repeat(10);
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, 96).unwrap();
        writer.write(&frame).unwrap();
        writer.flush().unwrap();
        let capture = Capture::parse("trace", &file).unwrap();
        let first: Vec<u8> = capture.frames.iter().map(|one| one.bytes[5]).collect();
        assert_eq!(first, [2, 3]);
        assert_eq!(capture.frames[0].time_ns, frame.time_ns);
    }

    #[test]
    fn a_frame_without_its_bytes_is_refused() {
        let mut writer = Writer::new(Vec::new(), 96).unwrap();
        assert!(writer.write(&sent()).is_err());
        assert_eq!(bytes("0g"), None);
        assert_eq!(bytes("0a1"), None);
        assert_eq!(bytes("0aFf"), Some(vec![10, 255]));
    }
}
