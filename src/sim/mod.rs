//! A simulated compound: any profile can be served as a device, over real sockets, a real pty, a real broker.
//! Used by `demo` and by tests; nothing here is known to the gateway's own rooms.

mod broker;
mod captured;
mod car;
mod compound;
mod device;
mod dlt645;
mod frame;
mod inspector;
mod life;
mod modbus;
mod mqtt;
mod pty;
mod rtu;
mod serial;

pub use broker::Broker;
pub use car::Car;
pub use compound::{Compound, Line, Served};
pub use device::{SimDevice, SimError};
pub use inspector::{Delivery, Inspector, Office, SignatureFault};
pub use life::Life;
pub use modbus::{Units, serve_tcp};
pub use mqtt::{Radio, RadioLink, radio};
pub use pty::Pty;
pub use rtu::serve_rtu;
pub use serial::serve_serial;
