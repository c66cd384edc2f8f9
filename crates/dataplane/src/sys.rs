//! Three `bpf(2)` calls that aya 0.14 does not offer, and one that waits for the kernel's readers.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use crate::error::Error;

const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const MAP_LOOKUP_BATCH: libc::c_int = 24;

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

#[repr(C)]
#[derive(Default)]
struct BatchAttributes {
    /// Where the key is that comes before the first; none for the beginning.
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Reads `count` elements of an array from number `first` on into `words`, in one call: each element has the values of
/// all CPUs one after another. `count` becomes smaller at the array's end.
pub(crate) fn read_batch(
    map: BorrowedFd<'_>,
    first: u32,
    count: u32,
    element_words: usize,
    words: &mut Vec<u64>,
) -> std::io::Result<u32> {
    words.clear();
    words.resize(count as usize * element_words, 0);
    let mut keys = vec![0u32; count as usize];
    let before = first.wrapping_sub(1);
    let mut last = 0u32;
    let mut attributes = BatchAttributes {
        in_batch: if first == 0 {
            0
        } else {
            (&raw const before) as u64
        },
        out_batch: (&raw mut last) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: words.as_mut_ptr() as u64,
        count,
        map_fd: map.as_raw_fd() as u32,
        ..BatchAttributes::default()
    };
    let size = size_of::<BatchAttributes>();
    // SAFETY: the kernel reads `size` bytes of attributes and the key at `in_batch`, and writes at most `count` keys
    // of four bytes, `count` elements of `element_words` words, and one key at `out_batch`; all of it lives until it
    // returns.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, MAP_LOOKUP_BATCH, &raw mut attributes, size) };
    let error = std::io::Error::last_os_error();
    // ENOENT: the array ended before.
    if result < 0 && error.raw_os_error() != Some(libc::ENOENT) {
        return Err(error);
    }
    Ok(attributes.count.min(count))
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
