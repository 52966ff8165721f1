//! Captured frames taken apart without a field bus: enough to hold the bytes of a manual against a profile.

use super::{ByteMatch, Captured, Dialect, Dlt645Link, Link, SerialLink, written::hex_bytes};
use crate::domain::{Lang, Raw, Table};

const CRC: crc::Crc<u16> = crc::Crc::<u16>::new(&crc::CRC_16_MODBUS);

/// A Modbus RTU reply with its request (strictly: unit, function, count and both CRCs), or a serial frame by the request
/// it answers or by what it begins with. A serial frame's checksum is the driver's affair. A DL/T 645 reply names its item itself.
///
/// # Errors
/// Why no driver would hand it on.
pub fn plain_wire(captured: Captured<'_>) -> Result<Raw, String> {
    match &captured.profile.link {
        Link::Modbus(link) => {
            let request = captured.request.ok_or("a Modbus frame needs the request beside it")?;
            let request = hex_bytes(request).ok_or("the request is not hex")?;
            rtu_reply(&request, captured.frame, link.dialect)
        }
        Link::Serial(link) => serial_frame(link, captured.request, captured.frame),
        Link::Dlt645(link) => meter_reply(link, captured.frame),
        Link::Mqtt(_) => Err("an MQTT profile has payloads, no frames".to_owned()),
    }
}

/// MODBUS over Serial Line V1.02, 2.5.1: unit, function, data, CRC low byte first.
fn checked<'a>(frame: &'a [u8], what: &str) -> Result<(u8, u8, &'a [u8]), String> {
    let (body, crc) = frame.split_last_chunk::<2>().ok_or_else(|| format!("the {what} is too short"))?;
    let computed = CRC.checksum(body).to_le_bytes();
    if computed != *crc {
        return Err(format!("CRC of the {what} is {crc:02X?}, computed {computed:02X?}"));
    }
    match body {
        [unit, function, rest @ ..] => Ok((*unit, *function, rest)),
        _ => Err(format!("the {what} is too short")),
    }
}

fn rtu_reply(request: &[u8], reply: &[u8], dialect: Dialect) -> Result<Raw, String> {
    let (unit, function, asked) = checked(request, "request")?;
    let &[first_high, first_low, count_high, count_low] = asked else {
        return Err("the request is no read".to_owned());
    };
    let (first, count) =
        (u16::from_be_bytes([first_high, first_low]), u16::from_be_bytes([count_high, count_low]));
    let (reply_unit, reply_function, rest) = checked(reply, "reply")?;
    if reply_unit != unit {
        return Err(format!("unit {reply_unit} answered, {unit} was asked"));
    }
    if let (true, [code]) = (reply_function == function | 0x80, rest) {
        return Err(Dialect::Standard.refusal(u16::from(*code)).line(Lang::En));
    }
    if let (Dialect::Nice3000, [0x80, 0x01, high, low]) = (dialect, rest) {
        return Err(dialect.refusal(u16::from_be_bytes([*high, *low])).line(Lang::En));
    }
    if reply_function != function {
        return Err(format!("function {reply_function:#04x} came back, {function:#04x} was asked"));
    }
    let table = match function {
        1 => Table::Coil,
        2 => Table::Discrete,
        3 => Table::Holding,
        4 => Table::Input,
        other => return Err(format!("function {other:#04x} is no read")),
    };
    let bits = matches!(table, Table::Coil | Table::Discrete);
    let length = if bits { usize::from(count).div_ceil(8) } else { usize::from(count) * 2 };
    let (announced, data) = match (dialect, rest) {
        (Dialect::Standard, [announced, data @ ..]) => (usize::from(*announced), data),
        (Dialect::Nice3000, [high, low, data @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), data),
        (Dialect::Standard | Dialect::Nice3000, _) => return Err("the reply has no byte count".to_owned()),
    };
    if announced != length || data.len() != length {
        return Err(format!("{announced} bytes announced, {} there, {length} asked for", data.len()));
    }
    Ok(match bits {
        true => {
            let bit = |at: u16| data[usize::from(at / 8)] >> (at % 8) & 1 == 1;
            Raw::Bits { table, first, bits: (0..count).map(bit).collect() }
        }
        false => {
            let words = data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            Raw::Registers { table, first, words }
        }
    })
}

/// The frame that `request` names, or the first whose `match` holds, those that say what they look like before the others.
fn serial_frame(link: &SerialLink, request: Option<&str>, frame: &[u8]) -> Result<Raw, String> {
    let requests = link.requests.iter().map(|request| (request.name.as_str(), &request.matches));
    let all: Vec<(&str, &Vec<ByteMatch>)> =
        requests.chain(link.events.iter().map(|event| (event.name.as_str(), &event.matches))).collect();
    let holds = |(_, (name, matches)): &(u16, &(&str, &Vec<ByteMatch>))| {
        request.is_none_or(|wanted| wanted == *name) && matches.iter().all(|is| is.holds(frame))
    };
    let fitting: Vec<_> = (0u16..).zip(&all).filter(holds).collect();
    let found = fitting.iter().find(|(_, (_, matches))| !matches.is_empty()).or(fitting.first());
    match found {
        Some((ix, _)) if frame.starts_with(&link.frame.start) => {
            Ok(Raw::Frame { frame: *ix, bytes: frame.to_vec().into() })
        }
        Some(_) => Err("it does not begin as a frame does".to_owned()),
        None => Err("it is none of the profile's frames".to_owned()),
    }
}

/// A reply to "read data" of one of the profile's items; FE bytes in front do not count.
fn meter_reply(link: &Dlt645Link, frame: &[u8]) -> Result<Raw, String> {
    let woken = frame.iter().take_while(|byte| **byte == 0xFE).count();
    let &[0x68, _, _, _, _, _, _, 0x68, control, length, ref rest @ ..] = &frame[woken..] else {
        return Err("it does not begin as a DL/T 645 frame does".to_owned());
    };
    let (data, end) = rest.split_at_checked(usize::from(length)).ok_or("it is shorter than it says")?;
    let whole = &frame[woken..frame.len() - end.len()];
    let computed = whole.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if end != [computed, 0x16] {
        return Err(format!("it ends with {end:02X?}, computed [{computed:02X}, 16]"));
    }
    let data: Vec<u8> = data.iter().map(|byte| byte.wrapping_sub(0x33)).collect();
    match (control, &data[..]) {
        (0x91, [di0, di1, di2, di3, data @ ..]) => {
            let id = u32::from_le_bytes([*di0, *di1, *di2, *di3]);
            let place = link.items.iter().position(|item| item.id == id);
            let place = place.ok_or_else(|| format!("the profile does not read {id:08X}"))?;
            let item = &link.items[place];
            if !item.fits(data.len()) {
                return Err(format!(
                    "{id:08X} has {} bytes here, the profile reads {}",
                    data.len(),
                    item.length
                ));
            }
            Ok(Raw::Frame { frame: place as u16, bytes: data.to_vec().into() })
        }
        (0xD1, [error]) => Err(Dlt645Link::refusal(u16::from(*error)).line(Lang::En)),
        (other, _) => Err(format!("control {other:02X} is no reply with data in one frame")),
    }
}
