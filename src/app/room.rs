//! How many connections each listener may have, so that all of them together leave what the rest of the process needs.

use tracing::warn;

use crate::{admin, config::Config};

/// Descriptors that are no peer's: files, timers, and the connections of the feeds.
const OWN: usize = 256;
/// What a listener has at the least.
const LEAST: usize = 16;

/// Cuts what the listeners may have down to what there can be, each in proportion, and says so.
pub(super) fn fit(config: &mut Config, limit: usize) {
    let available = limit.saturating_sub(OWN + admin::CONNECTIONS);
    let wanted: usize = rooms(config).iter().map(|(_, room)| **room).sum();
    if wanted <= available {
        return;
    }
    for (listener, room) in rooms(config) {
        let share = room.saturating_mul(available) / wanted;
        let connections = share.max(LEAST);
        warn!(
            listener,
            limit,
            wanted = *room,
            connections,
            "too few open files are allowed"
        );
        *room = connections;
    }
}

/// What each listener may have open: connections, and others that have yet to become one.
fn rooms(config: &mut Config) -> Vec<(&'static str, &mut usize)> {
    let Config {
        mcp,
        xds,
        cloud_controller,
        vip_resolver,
        ..
    } = config;
    let mut rooms = vec![
        ("mcp", &mut mcp.limits.connections),
        ("mcp, half-open", &mut mcp.limits.half_open),
    ];
    if let Some(xds) = xds {
        let limits = &mut xds.settings.limits;
        rooms.push(("xds", &mut limits.connections));
        rooms.push(("xds, half-open", &mut limits.half_open));
    }
    let others = [
        (
            "cloud_controller",
            "cloud_controller, half-open",
            cloud_controller,
        ),
        ("vip_resolver", "vip_resolver, half-open", vip_resolver),
    ];
    for (name, half_open, listener) in others {
        if let Some(listener) = listener {
            rooms.push((name, &mut listener.settings.max_connections));
            rooms.push((half_open, &mut listener.settings.half_open));
        }
    }
    rooms
}
