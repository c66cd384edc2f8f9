//! The seam to the host's addresses: virtual ones are put on, announced, taken off.

use std::net::IpAddr;

use control::HostAddress;
use netlink::{AddressFlags, FrameSocket, Mac, Netlink};

/// What the actor needs of the host.
pub(crate) trait Host {
    /// Addresses of all interfaces.
    fn addresses(&self) -> anyhow::Result<Vec<HostAddress>>;
    /// All interfaces: number, name, MAC.
    fn interfaces(&self) -> anyhow::Result<Vec<Interface>>;
    /// Puts a virtual address on an interface; false if it was there already.
    fn add_vip(&mut self, address: IpAddr, interface: &str) -> anyhow::Result<bool>;
    /// Takes it off; one that is gone already is right.
    fn remove_vip(&mut self, address: IpAddr, interface: &str) -> anyhow::Result<()>;
    /// Tells the segment where the address is, once.
    fn announce(&mut self, address: IpAddr, interface: &str) -> anyhow::Result<()>;
}

/// An interface of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Its number.
    pub(crate) index: u32,
    /// Its name.
    pub(crate) name: String,
    /// Its MAC.
    pub(crate) mac: Mac,
}

/// The host in the kernel.
pub(crate) struct Kernel {
    netlink: Netlink,
}

impl Kernel {
    pub(crate) fn open() -> anyhow::Result<Self> {
        Ok(Self {
            netlink: Netlink::open()?,
        })
    }
}

impl Host for Kernel {
    fn addresses(&self) -> anyhow::Result<Vec<HostAddress>> {
        let links = self.netlink.links()?;
        let name = |index| {
            let link = links.iter().find(|link| link.index == index);
            link.map(|link| link.name.clone())
        };
        let addresses = self.netlink.addresses(None)?;
        Ok(addresses
            .into_iter()
            .filter_map(|found| {
                Some(HostAddress {
                    interface: name(found.index)?,
                    address: found.address,
                    prefix: found.prefix,
                })
            })
            .collect())
    }

    fn interfaces(&self) -> anyhow::Result<Vec<Interface>> {
        let links = self.netlink.links()?.into_iter();
        Ok(links
            .map(|link| Interface {
                index: link.index,
                name: link.name,
                mac: link.mac,
            })
            .collect())
    }

    fn add_vip(&mut self, address: IpAddr, interface: &str) -> anyhow::Result<bool> {
        let link = self.netlink.link(interface)?;
        let is_ipv6 = address.is_ipv6();
        let flags = AddressFlags {
            // Another director may have had it a moment ago; detection would refuse it for good.
            no_dad: is_ipv6,
            // Else the kernel would choose it as the source towards real servers, which hold the
            // same address and would answer themselves. IPv4 prefers the subnet's first address.
            preferred_zero: is_ipv6,
        };
        let prefix = netlink::host_prefix(&address);
        match self.netlink.add_address(link.index, address, prefix, flags) {
            Err(error) if error.is_exists() => Ok(false),
            done => Ok(done.map(|()| true)?),
        }
    }

    fn remove_vip(&mut self, address: IpAddr, interface: &str) -> anyhow::Result<()> {
        let link = match self.netlink.link(interface) {
            Err(error) if error.is_not_found() => return Ok(()),
            found => found?,
        };
        let prefix = netlink::host_prefix(&address);
        match self.netlink.delete_address(link.index, address, prefix) {
            Err(error) if error.is_not_found() => Ok(()),
            done => Ok(done?),
        }
    }

    fn announce(&mut self, address: IpAddr, interface: &str) -> anyhow::Result<()> {
        let link = self.netlink.link(interface)?;
        if link.loopback || link.no_arp {
            return Ok(());
        }
        let socket = FrameSocket::open_discovery(link.index)?;
        Ok(socket.send(&netlink::announce::frame(link.mac, address))?)
    }
}
