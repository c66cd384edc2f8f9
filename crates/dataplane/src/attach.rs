//! The program on interfaces: native first, generic as a visible fallback, pinned to outlive us.

use std::fs;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode};

use crate::error::Error;
use crate::object::{self, Object};
use crate::sys::link_interface;

/// Where in the receive path the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before a socket buffer is made.
    Native,
    /// In the stack, on a socket buffer: any interface, several times slower.
    Generic,
}

impl Mode {
    /// `native` or `generic`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    fn flags(self) -> XdpMode {
        match self {
            Self::Native => XdpMode::Driver,
            Self::Generic => XdpMode::Skb,
        }
    }
}

/// An interface with the program attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its name now, in the calling thread's namespace.
    pub name: String,
    /// Its index.
    pub interface: u32,
    /// How the program runs there.
    pub mode: Mode,
}

/// Attaches, or takes a pinned link over.
pub(crate) fn attach(
    object: &mut Object,
    directory: &Path,
    interface: &str,
    require_native: bool,
) -> Result<Mode, Error> {
    let index = index_of(interface)?;
    let program = object.program()?;
    if let Some((path, mode)) = pinned(directory, index) {
        // Our programs are under every pinned link already; its interface may have gone since.
        if (mode == Mode::Generic && require_native) || link_interface(&path)? == 0 {
            remove(&path)?;
        } else {
            return Ok(mode);
        }
    }
    let native = fresh(program, directory, interface, index, Mode::Native);
    match native {
        Err(Error::Program(error)) if require_native => Err(Error::NotNative {
            interface: interface.to_owned(),
            reason: error.to_string(),
        }),
        Err(Error::Program(_)) => fresh(program, directory, interface, index, Mode::Generic),
        done => done,
    }
}

fn fresh(
    program: &mut Xdp,
    directory: &Path,
    interface: &str,
    index: u32,
    mode: Mode,
) -> Result<Mode, Error> {
    let id = program
        .attach_to_if_index(index, mode.flags())
        .map_err(|error| match errno(&error) {
            Some(nix::libc::EBUSY | nix::libc::EEXIST) => Error::Busy {
                interface: interface.to_owned(),
            },
            _ => Error::Program(error),
        })?;
    let link: FdLink = program
        .take_link(id)?
        .try_into()
        .map_err(|error| odd_link(interface, &error))?;
    let path = pin_of(directory, index, mode);
    link.pin(&path).map_err(|error| {
        Error::io(
            format!("pinning {}", path.display()),
            std::io::Error::other(error.to_string()),
        )
    })?;
    Ok(mode)
}

fn odd_link(what: &str, error: &dyn std::error::Error) -> Error {
    Error::io(
        format!("the XDP link of {what}"),
        std::io::Error::other(error.to_string()),
    )
}

/// Puts the object's program under every pinned link, in one step for each: a packet meets the old programs or
/// the new ones. A link whose interface has gone is removed.
pub(crate) fn take_over(object: &mut Object, directory: &Path) -> Result<(), Error> {
    for attached in attached(directory) {
        let path = pin_of(directory, attached.interface, attached.mode);
        if link_interface(&path)? == 0 {
            remove(&path)?;
        } else {
            update(object.program()?, &path)?;
        }
    }
    Ok(())
}

fn update(program: &mut Xdp, path: &Path) -> Result<(), Error> {
    let pinned = PinnedLink::from_pin(path).map_err(|error| {
        Error::io(
            format!("opening {}", path.display()),
            std::io::Error::other(error.to_string()),
        )
    })?;
    let link = FdLink::from(pinned);
    let link =
        XdpLink::try_from(link).map_err(|error| odd_link(&path.display().to_string(), &error))?;
    let id = program.attach_to_link(link)?;
    // The pin holds the link; our own reference may go with this process.
    drop(program.take_link(id)?);
    Ok(())
}

/// Detaches from the interface with this index.
pub(crate) fn detach(directory: &Path, index: u32) -> Result<(), Error> {
    match pinned(directory, index) {
        Some((path, _)) => remove(&path),
        None => Ok(()),
    }
}

/// Interfaces that pins are for.
pub(crate) fn attached(directory: &Path) -> Vec<Attached> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut attached: Vec<_> = entries
        .filter_map(|entry| parse_pin(entry.file_name().to_str()?))
        .map(|(interface, mode)| Attached {
            name: name_of(interface),
            interface,
            mode,
        })
        .collect();
    attached.sort_by_key(|attached| attached.interface);
    attached
}

fn pinned(directory: &Path, index: u32) -> Option<(PathBuf, Mode)> {
    [Mode::Native, Mode::Generic]
        .map(|mode| (pin_of(directory, index, mode), mode))
        .into_iter()
        .find(|(path, _)| path.exists())
}

fn pin_of(directory: &Path, index: u32, mode: Mode) -> PathBuf {
    directory.join(format!("link-{index}-{}", mode.name()))
}

fn parse_pin(name: &str) -> Option<(u32, Mode)> {
    let (index, mode) = name.strip_prefix("link-")?.split_once('-')?;
    let mode = match mode {
        "native" => Mode::Native,
        "generic" => Mode::Generic,
        _ => return None,
    };
    Some((index.parse().ok()?, mode))
}

fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path)
        .map_err(|source| Error::io(format!("removing {}", path.display()), source))
}

/// Index of an interface, in the calling thread's namespace.
pub(crate) fn index_of(interface: &str) -> Result<u32, Error> {
    nix::net::if_::if_nametoindex(interface).map_err(|_| Error::NoInterface {
        name: interface.to_owned(),
    })
}

fn name_of(index: u32) -> String {
    let interfaces = nix::net::if_::if_nameindex();
    let found = interfaces.ok().and_then(|all| {
        all.iter()
            .find(|i| i.index() == index)
            .map(|i| i.name().to_string_lossy().into_owned())
    });
    found.unwrap_or_else(|| format!("if{index}"))
}

fn errno(error: &ProgramError) -> Option<i32> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.raw_os_error();
        }
        source = error.source();
    }
    None
}

/// A program that passes everything, attached while this value lives. A veth flushes what its peer
/// transmits by `XDP_TX` only when it has a program itself.
pub struct PassProgram {
    _object: aya::Ebpf,
}

/// Attaches [`PassProgram`] to an interface of the calling thread's namespace.
///
/// # Errors
///
/// When there is no such interface or the kernel refuses.
pub fn attach_pass(interface: &str) -> Result<PassProgram, Error> {
    let index = index_of(interface)?;
    let mut object = object::load_small()?;
    let program = object.program_mut("pass");
    let program = program.ok_or_else(|| Error::Missing("program pass".to_owned()))?;
    let program: &mut Xdp = program.try_into().map_err(Error::Program)?;
    program.load()?;
    program.attach_to_if_index(index, XdpMode::Driver)?;
    Ok(PassProgram { _object: object })
}
