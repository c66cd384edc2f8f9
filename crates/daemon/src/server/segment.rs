//! Who answers for virtual addresses, and how real servers are reached.

use axum::extract::State;
use axum::response::IntoResponse;
use netlink::Netlink;

use super::{Answer, Desk, Routes};
use crate::claims;
use crate::message::Message;

pub(super) fn routes() -> Routes {
    Routes::default().get("/v1/segment", segment)
}

async fn segment(State(desk): State<Desk>) -> Answer {
    let mut segment = desk.ask(Message::Segment).await?;
    // The host's addresses are read beside the actor, which has other things to do.
    let held = tokio::task::spawn_blocking(held).await.unwrap_or_default();
    for vip in &mut segment.vips {
        let on = held.iter().filter(|(address, _)| *address == vip.address);
        vip.on = on.map(|(_, interface)| interface.clone()).collect();
        vip.claims = claims::of(vip.address);
    }
    Ok(axum::Json(segment).into_response())
}

/// Addresses of this host, each with its interface's name; none if the kernel does not say.
fn held() -> Vec<(std::net::IpAddr, String)> {
    let read = || -> Result<_, netlink::Error> {
        let netlink = Netlink::open()?;
        Ok((netlink.links()?, netlink.addresses(None)?))
    };
    let Ok((links, addresses)) = read() else {
        return Vec::new();
    };
    let named = addresses.into_iter().filter_map(|held| {
        let link = links.iter().find(|link| link.index == held.index)?;
        Some((held.address, link.name.clone()))
    });
    named.collect()
}
