//! Captures of hosts: pcap and pcapng files, whole.

use std::path::{Path, PathBuf};

use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};

/// Largest capture that is read, in bytes: it is held in memory. One connection is wanted, and `tcpdump -C` or a
/// filter makes files smaller.
const CAPTURE_BYTES: u64 = 512 << 20;

/// A capture.
#[derive(Clone, Debug)]
pub struct Capture {
    /// Where it was made: the file's name without its ending.
    pub name: String,
    /// Its frames, in the order of the file.
    pub frames: Vec<Sighting>,
}

/// A frame in a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Nanoseconds since 1970, by the clock of the host.
    pub time_ns: u64,
    /// Its bytes, as many as were kept.
    pub bytes: Vec<u8>,
    /// Bytes that it had on the wire.
    pub length: u32,
}

/// Why a capture cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be opened.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// It is too large.
    #[error(
        "{} has {found} bytes, more than {CAPTURE_BYTES}; cut it down to the connection, for instance with: \
         tcpdump -r {} -w small.pcap host CLIENT", path.display(), path.display()
    )]
    Large {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
    },
    /// It is something else.
    #[error(
        "{name} is neither pcap nor pcapng: it begins with {found}. Capture with: tcpdump -i eth0 -w FILE"
    )]
    NotACapture {
        /// The file.
        name: String,
        /// Its first bytes.
        found: String,
    },
    /// It breaks off or has nonsense in it.
    #[error("{name}: after {frames} frames it cannot be read: {reason}")]
    Broken {
        /// The file.
        name: String,
        /// Frames that were read before.
        frames: usize,
        /// What is wrong.
        reason: String,
    },
    /// It was made on something that is not Ethernet.
    #[error(
        "{name} has frames of link type {found}, not of Ethernet, and so no MAC addresses. Capture on one interface \
         (tcpdump -i eth0), not on \"any\""
    )]
    NotEthernet {
        /// The file.
        name: String,
        /// What it is.
        found: String,
    },
}

impl Capture {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When it is no capture of Ethernet frames, or cannot be read to its end.
    pub fn read(path: &Path) -> Result<Self, CaptureError> {
        let unreadable = |source| CaptureError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let found = std::fs::metadata(path).map_err(unreadable)?.len();
        if found > CAPTURE_BYTES {
            return Err(CaptureError::Large {
                path: path.to_owned(),
                found,
            });
        }
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let name = path.file_stem().unwrap_or(path.as_os_str());
        Self::parse(&name.to_string_lossy(), &bytes)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    ///
    /// As [`Capture::read`].
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, CaptureError> {
        const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
        const PCAP: [[u8; 4]; 4] = [
            [0xa1, 0xb2, 0xc3, 0xd4],
            [0xd4, 0xc3, 0xb2, 0xa1],
            [0xa1, 0xb2, 0x3c, 0x4d],
            [0x4d, 0x3c, 0xb2, 0xa1],
        ];
        let mut capture = Self {
            name: name.to_owned(),
            frames: Vec::new(),
        };
        match bytes.first_chunk::<4>() {
            Some(magic) if *magic == PCAPNG => capture.read_pcapng(bytes)?,
            Some(magic) if PCAP.contains(magic) => capture.read_pcap(bytes)?,
            _ => {
                let head = bytes.iter().take(8).map(|byte| format!("{byte:02x}"));
                let found = match bytes.is_empty() {
                    true => "nothing: it is empty".to_owned(),
                    false => head.collect::<Vec<_>>().join(" "),
                };
                return Err(CaptureError::NotACapture {
                    name: name.to_owned(),
                    found,
                });
            }
        }
        Ok(capture)
    }

    fn read_pcap(&mut self, bytes: &[u8]) -> Result<(), CaptureError> {
        let mut reader = PcapReader::new(bytes).map_err(|error| self.broken(&error))?;
        self.assert_ethernet(reader.header().datalink)?;
        while let Some(packet) = reader.next_packet() {
            let packet = packet.map_err(|error| self.broken(&error))?;
            self.push(packet.timestamp(), packet.data(), packet.orig_len());
        }
        Ok(())
    }

    fn read_pcapng(&mut self, bytes: &[u8]) -> Result<(), CaptureError> {
        let mut reader = PcapNgReader::new(bytes).map_err(|error| self.broken(&error))?;
        while let Some(block) = reader.next_block() {
            let (block, state) = block.map_err(|error| self.broken(&error))?;
            if let Block::EnhancedPacket(packet) = block {
                let interface = state.interfaces().get(packet.interface_id as usize);
                if let Some(interface) = interface {
                    self.assert_ethernet(interface.linktype)?;
                }
                self.push(packet.timestamp, &packet.data, packet.original_len);
            }
        }
        Ok(())
    }

    fn push(&mut self, time: std::time::Duration, bytes: &[u8], length: u32) {
        self.frames.push(Sighting {
            time_ns: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
            bytes: bytes.to_vec(),
            // Some writers leave it out.
            length: length.max(bytes.len() as u32),
        });
    }

    fn assert_ethernet(&self, found: DataLink) -> Result<(), CaptureError> {
        if found == DataLink::ETHERNET {
            return Ok(());
        }
        Err(CaptureError::NotEthernet {
            name: self.name.clone(),
            found: format!("{found:?}"),
        })
    }

    fn broken(&self, error: &dyn std::error::Error) -> CaptureError {
        CaptureError::Broken {
            name: self.name.clone(),
            frames: self.frames.len(),
            reason: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
    use proptest::prelude::*;
    use std::time::Duration;

    fn pcap(datalink: DataLink) -> Vec<u8> {
        let header = PcapHeader {
            datalink,
            ..PcapHeader::default()
        };
        let mut file = Vec::new();
        let mut writer = PcapWriter::with_header(&mut file, header).unwrap();
        let packet = PcapPacket::new(Duration::from_micros(5), 60, &[7u8; 60][..]).unwrap();
        writer.write_packet(&packet).unwrap();
        file
    }

    #[test]
    fn a_capture_is_its_frames() {
        let capture = Capture::parse("client", &pcap(DataLink::ETHERNET)).unwrap();
        let sighting = Sighting {
            time_ns: 5_000,
            bytes: vec![7; 60],
            length: 60,
        };
        assert_eq!(capture.frames, [sighting]);
    }

    #[test]
    fn junk_is_refused_with_what_it_is_and_what_would_be_right() {
        let say = |bytes: &[u8]| Capture::parse("x", bytes).unwrap_err().to_string();
        assert!(say(b"").contains("begins with nothing"), "{}", say(b""));
        assert!(
            say(b"#!/bin/sh").contains("23 21 2f 62"),
            "{}",
            say(b"#!/bin/sh")
        );
        let any = say(&pcap(DataLink::LINUX_SLL));
        assert!(any.contains("not on \"any\""), "{any}");
        let whole = pcap(DataLink::ETHERNET);
        let cut = say(&whole[..whole.len() - 9]);
        assert!(cut.contains("after 0 frames"), "{cut}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0usize..3) {
            let head: &[u8] = [&[0xd4, 0xc3, 0xb2, 0xa1][..], &[0x0a, 0x0d, 0x0d, 0x0a], &[]][kind];
            let _ = Capture::parse("x", &[head, &bytes].concat());
        }
    }
}
