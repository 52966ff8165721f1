//! RS-485 direction control by the driver of a port (Linux `TIOCSRS485`): sending is switched on for each frame and off after it.

use std::{
    fs::OpenOptions,
    io,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::Path,
    time::Duration,
};

use rustix::{fs::OFlags, io::Errno};
use serial2::{
    SerialPort,
    rs4xx::{Rs485Config, TransceiverMode},
};

use super::{
    driver::LineFault,
    port,
    serial::config::{Rs485, Rts},
};
use crate::{domain::Text, text};

/// Switches it on. What is given back holds the port open: the settings last at least as long.
///
/// # Errors
/// When the port does not open, or its driver offers no such thing, or says yes and does not do it.
pub fn switch_on(path: &Path, rs485: Rs485) -> Result<SerialPort, LineFault> {
    let undirected = |why| LineFault::NoDirection { why };
    let port = open(path).map_err(|error| port::gone(path, &error))?;
    port.set_rs4xx_mode(mode(rs485)).map_err(|error| undirected(refused(path, &error)))?;
    match port.get_rs4xx_mode() {
        Ok(TransceiverMode::Rs485(_)) => Ok(port),
        Ok(TransceiverMode::Default | TransceiverMode::Rs422) => Err(undirected(not_done(path))),
        Err(error) => Err(undirected(refused(path, &error))),
    }
}

fn not_done(path: &Path) -> Text {
    let port = path.display();
    text!(
        "串口 {port} 的驱动接受了 rs485，但没有换向",
        "the driver of {port} took rs485 and did not switch it on"
    )
}

fn open(path: &Path) -> io::Result<SerialPort> {
    let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits() as i32).open(path)?;
    Ok(SerialPort::from(OwnedFd::from(file)))
}

fn mode(Rs485 { rts, delay_before, delay_after }: Rs485) -> Rs485Config {
    let mut mode = Rs485Config::new();
    mode.set_invert_rts(match rts {
        Rts::OnSend => false,
        Rts::AfterSend => true,
    });
    mode.set_delay_before_send(delay_before.map_or(Duration::ZERO, Duration::from));
    mode.set_delay_after_send(delay_after.map_or(Duration::ZERO, Duration::from));
    mode
}

fn refused(path: &Path, error: &io::Error) -> Text {
    let port = path.display();
    match Errno::from_io_error(error) {
        Some(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => text!(
            "串口 {port} 的驱动不提供 RS-485 方向控制（{error}）",
            "the driver of {port} offers no RS-485 direction control ({error})"
        ),
        Some(_) | None => text!(
            "串口 {port} 的 RS-485 方向控制打不开（{error}）",
            "RS-485 direction control of {port} could not be switched on ({error})"
        ),
    }
}

#[cfg(test)]
mod tests {
    use tokio_serial::{SerialPort as _, SerialStream};

    use super::*;
    use crate::domain::Lang;

    #[tokio::test]
    async fn a_driver_that_offers_none_says_so_and_what_to_do() {
        let (_master, terminal) = SerialStream::pair().unwrap();
        let path = terminal.name().unwrap();
        let fault = switch_on(Path::new(&path), Rs485::default()).expect_err("a pty has no transceiver");
        let said = fault.to_string();
        assert!(said.contains(&path) && said.contains("offers no RS-485 direction control"), "{said}");
        assert!(matches!(fault, LineFault::NoDirection { .. }), "{fault:?}");
        let zh = fault.diagnosis().line(Lang::Zh);
        assert!(zh.contains("不提供 RS-485 方向控制") && zh.contains("去掉 rs485"), "{zh}");
    }

    #[test]
    fn a_port_that_is_not_there_is_named() {
        let fault = switch_on(Path::new("/dev/no-such-port"), Rs485::default()).unwrap_err();
        assert!(fault.to_string().contains("/dev/no-such-port: No such file"), "{fault}");
    }
}
