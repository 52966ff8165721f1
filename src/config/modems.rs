//! Modems that dial in: told apart by what they say, at addresses that not everybody should reach.

use std::net::{IpAddr, SocketAddr};

use super::desk::Desk;
use crate::{
    at,
    document::Step,
    fieldbus::modbus::config::{DtuSettings, Said},
    text,
};

/// Those that were named already, with the line of each.
#[derive(Default)]
pub(super) struct Modems(Vec<(SocketAddr, Said, usize)>);

impl Modems {
    pub fn check(&mut self, desk: &mut Desk<'_>, n: usize, modem: &DtuSettings) {
        let DtuSettings { listen, registration, heartbeat, .. } = modem;
        reachable(desk, n, *listen);
        self.tell_apart(desk, n, *listen, registration);
        not_too_long(desk, at!["bus", n, "modbus_dtu", "registration"], registration);
        if let Some(heartbeat) = heartbeat {
            not_too_long(desk, at!["bus", n, "modbus_dtu", "heartbeat"], heartbeat);
            not_an_answer(desk, n, heartbeat);
        }
    }

    /// One registration that begins with another would never be told from it.
    fn tell_apart(&mut self, desk: &mut Desk<'_>, n: usize, listen: SocketAddr, registration: &Said) {
        let path = at!["bus", n, "modbus_dtu", "registration"];
        let alike = |one: &Said| one.0.starts_with(&registration.0) || registration.0.starts_with(&one.0);
        let before = self.0.iter().find(|(at, other, _)| *at == listen && alike(other));
        if let Some((_, other, line)) = before {
            let told = text!(
                "注册包 \"{registration}\" 与第 {line} 行的 \"{other}\" 分不开",
                "registration \"{registration}\" cannot be told from \"{other}\" (line {line})"
            );
            let help = text!(
                "给每个 DTU 设不同的注册包，谁也不是谁的开头；或者另开一个监听端口",
                "give each modem one of its own, none the beginning of another, or another listen port"
            );
            desk.error_with_help(path, told, help);
        }
        self.0.push((listen, registration.clone(), desk.document.place(path).line()));
        let other_address = self.0.iter().find(|(at, _, _)| *at != listen && at.port() == listen.port());
        if let Some((at, _, line)) = other_address.filter(|(at, _, _)| overlap(*at, listen)) {
            let told = text!(
                "{listen} 和第 {line} 行的 {at} 不能同时监听",
                "{listen} and {at} (line {line}) cannot both be listened on"
            );
            let help = text!("两处写同一个地址", "name one address in both places");
            desk.error_with_help(at!["bus", n, "modbus_dtu", "listen"], told, help);
        }
    }
}

/// All addresses of the box include each of them.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.ip().is_unspecified() || other.ip().is_unspecified()
}

fn reachable(desk: &mut Desk<'_>, n: usize, listen: SocketAddr) {
    let private = match listen.ip() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    let path = at!["bus", n, "modbus_dtu", "listen"];
    if listen.port() == 0 {
        let nearest = SocketAddr::new(listen.ip(), 9000);
        let told = text!("监听端口不能是 0", "a modem cannot dial port 0");
        desk.error_with_help(path, told, text!("例如 {nearest}", "such as {nearest}"));
    } else if !private {
        let told = text!(
            "任何能连到 {listen} 的人，知道注册包就能冒充这个 DTU：只对专网开放，或用防火墙限制来源",
            "whoever can reach {listen} and knows the registration can pose as this modem: open it to a private network only, or let the firewall choose who comes"
        );
        desk.warning(path, told);
    }
}

/// Modems hold no more; and nobody keeps much of what a stranger says.
fn not_too_long(desk: &mut Desk<'_>, path: &[Step<'_>], said: &Said) {
    const LONGEST: usize = Said::LONGEST;
    if said.0.len() > LONGEST {
        desk.error(path, text!("超过 {LONGEST} 个字节", "it is over {LONGEST} bytes long"));
    }
}

/// The first byte of an answer is its unit.
fn not_an_answer(desk: &mut Desk<'_>, n: usize, heartbeat: &Said) {
    if let [unit @ 1..=247] = heartbeat.0[..] {
        let told = text!(
            "心跳包只有一个字节，和站号 {unit} 的应答开头一样：这条总线上不能有站号 {unit}",
            "a heartbeat of one byte looks like the beginning of an answer of unit {unit}: this bus can have no such unit"
        );
        let help = text!("改用更长的心跳包", "let the modem say something longer");
        desk.error_with_help(at!["bus", n, "modbus_dtu", "heartbeat"], told, help);
    }
}
