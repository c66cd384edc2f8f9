//! What is told, and told again.

use std::sync::mpsc::{Receiver, channel};

use super::*;

/// The receiving end of a [`Handle`].
pub(crate) struct Orders {
    inbox: Inbox,
    _reader: PipeReader,
}

impl Orders {
    pub(crate) fn take(&self) -> Option<(Wanted, bool)> {
        self.inbox.lock().unwrap().take()
    }
}

/// A handle without a resolver, and what it is given.
pub(crate) fn idle() -> (Handle, Orders) {
    let (reader, wake) = std::io::pipe().unwrap();
    let inbox = Inbox::default();
    let handle = Handle {
        wanted: Arc::clone(&inbox),
        wake,
    };
    let orders = Orders {
        inbox,
        _reader: reader,
    };
    (handle, orders)
}

/// A resolver that nothing runs.
fn resolver() -> (Resolver, Handle, Receiver<Notice>) {
    let (handle, orders) = idle();
    let (tell, told) = channel();
    let resolver = Resolver {
        tell: Box::new(move |notice| tell.send(notice).is_ok()),
        inbox: Arc::clone(&orders.inbox),
        reader: orders._reader,
        wanted: Wanted::default(),
        targets: BTreeMap::new(),
        interfaces: BTreeMap::new(),
        news: Vec::new(),
        refresh: Instant::now(),
    };
    (resolver, handle, told)
}

const MAC: Mac = [2, 0, 0, 0, 0, 1];

fn server() -> IpAddr {
    IpAddr::from([192, 0, 2, 11])
}

fn on(interface: u32) -> Path {
    Path::OnLink {
        interface,
        source: IpAddr::from([192, 0, 2, 2]),
    }
}

fn told(told: &Receiver<Notice>) -> Vec<(IpAddr, LinkReport)> {
    let notices = told.try_iter().filter_map(|notice| match notice {
        Notice::Links(links) => Some(links),
        _ => None,
    });
    notices.flatten().collect()
}

fn via(interface: u32) -> (IpAddr, LinkReport) {
    let link = LinkReport::Via {
        mac: MAC,
        interface,
    };
    (server(), link)
}

/// A look-up that finds the real server on `interface`; `believed` counts at the first one.
fn look(resolver: &mut Resolver, interface: u32) {
    resolver.set_path(server(), on(interface), Some(MAC), None, Instant::now());
    assert!(resolver.tell_news().is_ok());
}

#[test]
fn a_link_is_told_once_and_again_when_asked_for() {
    let (mut resolver, mut handle, notices) = resolver();
    let wanted = Wanted {
        servers: [(server(), Some(MAC))].into(),
        ..Wanted::default()
    };
    handle.want(wanted.clone(), false);
    resolver.take_wanted();
    look(&mut resolver, 2);
    assert_eq!(told(&notices), [via(2)]);
    look(&mut resolver, 2);
    assert_eq!(told(&notices), []);

    handle.want(wanted.clone(), true);
    handle.want(wanted, false);
    resolver.take_wanted();
    look(&mut resolver, 2);

    assert_eq!(told(&notices), [via(2)]);
}

#[test]
fn a_real_server_behind_another_interface_is_followed_at_once() {
    let (mut resolver, _handle, notices) = resolver();
    look(&mut resolver, 2);
    look(&mut resolver, 3);
    assert_eq!(told(&notices), [via(2), via(3)]);
}
