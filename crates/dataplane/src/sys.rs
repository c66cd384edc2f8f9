//! Two `bpf(2)` calls that aya 0.14 does not offer, and one that waits for the kernel's readers.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use crate::error::Error;

const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;

#[repr(C)]
#[derive(Default)]
struct ObjectAttributes {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct InfoAttributes {
    fd: u32,
    info_len: u32,
    info: u64,
}

/// Opens a pinned object.
fn open(path: &Path) -> Result<OwnedFd, Error> {
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|error| Error::io("opening a pin", std::io::Error::other(error)))?;
    let mut attributes = ObjectAttributes {
        path: name.as_ptr() as u64,
        ..Default::default()
    };
    let size = size_of::<ObjectAttributes>();
    // SAFETY: the kernel reads `size` bytes of attributes and the string, which live until it returns.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, OBJ_GET, &raw mut attributes, size) };
    if fd < 0 {
        let source = std::io::Error::last_os_error();
        return Err(Error::io(format!("opening {}", path.display()), source));
    }
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The interface that a pinned XDP link is on; 0 when it has gone. aya does not show this field of
/// `struct bpf_link_info`.
pub(crate) fn link_interface(path: &Path) -> Result<u32, Error> {
    interface_of(std::os::fd::AsFd::as_fd(&open(path)?))
}

fn interface_of(link: BorrowedFd<'_>) -> Result<u32, Error> {
    // Type, id and program id come first; the union behind them is aligned to eight bytes.
    const IFINDEX_OFFSET: usize = 16;
    let mut info = [0u8; 128];
    let mut attributes = InfoAttributes {
        fd: link.as_raw_fd() as u32,
        info_len: info.len() as u32,
        info: info.as_mut_ptr() as u64,
    };
    let size = size_of::<InfoAttributes>();
    // SAFETY: the kernel reads `size` bytes of attributes and writes at most `info_len` bytes at
    // `info`, all of which live until it returns.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, OBJ_GET_INFO_BY_FD, &raw mut attributes, size) };
    if result < 0 {
        return Err(Error::io(
            "asking for a BPF link",
            std::io::Error::last_os_error(),
        ));
    }
    Ok(u32::from_ne_bytes(
        [0, 1, 2, 3].map(|at| info[IFINDEX_OFFSET + at]),
    ))
}

/// Returns when every CPU has left the programs that it was in when this was called.
pub(crate) fn wait_for_programs() {
    const GLOBAL: libc::c_int = 1;
    // Without this call (a kernel with `nohz_full` refuses it): longer than a CPU stays with a batch of packets.
    const INSTEAD: Duration = Duration::from_millis(200);
    // SAFETY: the call takes three numbers and no memory. It is the kernel's `synchronize_rcu`, and programs run
    // as readers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    if result != 0 {
        std::thread::sleep(INSTEAD);
    }
}
