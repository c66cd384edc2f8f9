//! The archive a kernel unpacks at boot.
//!
//! ```text
//! "070701" + 13 fields of 8 hexadecimal digits | name, NUL | pad to 4 | data | pad to 4
//! ```
//!
//! Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst ("newc").

/// File types and permissions.
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive that grows; every entry belongs to root.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    folders: std::collections::BTreeSet<String>,
}

impl Archive {
    /// Adds an executable file and the folders above it.
    pub fn file(&mut self, path: &str, data: &[u8]) {
        self.parents(path);
        self.entry(path, PROGRAM, (0, 0), data);
    }

    /// Adds a folder and those above it.
    pub fn folder(&mut self, path: &str) {
        self.parents(&format!("{path}/."));
    }

    /// Adds a character device and the folders above it.
    pub fn device(&mut self, path: &str, number: (u32, u32)) {
        self.parents(path);
        self.entry(path, CHARACTER_DEVICE, number, &[]);
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/').filter(|(at, _)| *at > 0) {
            if self.folders.insert(path[..at].to_owned()) {
                self.entry(&path[..at], FOLDER, (0, 0), &[]);
            }
        }
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        let name = path.trim_start_matches('/');
        self.entries += 1;
        let sizes = (data.len() as u32, name.len() as u32 + 1);
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            sizes.0,
            0,
            0,
            device.0,
            device.1,
            sizes.1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    #[test]
    fn cpio_unpacks_what_we_packed() {
        if crate::tools::find("cpio").is_none() {
            assert!(!crate::tools::is_ci(), "apt-get install cpio");
            println!("skipped: cpio is not installed");
            return;
        }
        let mut archive = Archive::default();
        archive.file("/bin/deep/hello", b"12345");
        archive.folder("/run");
        let folder = tempfile::tempdir().unwrap();
        let mut cpio = Command::new("cpio")
            .args(["-i", "--quiet"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin
            .take()
            .unwrap()
            .write_all(&archive.finish())
            .unwrap();

        assert!(cpio.wait().unwrap().success());
        assert_eq!(
            std::fs::read(folder.path().join("bin/deep/hello")).unwrap(),
            b"12345"
        );
        assert!(folder.path().join("run").is_dir());
    }
}
