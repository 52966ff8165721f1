//! How a simulated meter is asked and answers: DL/T 645-2007 frames.
//!
//! Written apart from the field bus's own codec: the same code on both ends would hide its mistakes.

use crate::profile::Dlt645Link;

const READ: u8 = 0x11;
const ANSWER: u8 = 0x80;

/// "Read data" for each item of `link`, as it comes over the line.
pub(super) fn requests(link: &Dlt645Link, meter: &str) -> Vec<Vec<u8>> {
    let request = |id: u32| frame(link.wakeup, meter, READ, &id.to_le_bytes());
    link.items.iter().map(|item| request(item.id)).collect()
}

/// The answer that carries `data` of the item at `place`.
pub(super) fn reply(link: &Dlt645Link, meter: &str, place: u16, data: &[u8]) -> Option<Vec<u8>> {
    let id = link.items.get(usize::from(place))?.id.to_le_bytes();
    Some(frame(link.wakeup, meter, READ | ANSWER, &[&id[..], data].concat()))
}

fn frame(wakeup: u8, meter: &str, control: u8, data: &[u8]) -> Vec<u8> {
    let mut body = vec![0x68];
    body.extend(wire_address(meter));
    body.extend([0x68, control, data.len() as u8]);
    body.extend(data.iter().map(|byte| byte.wrapping_add(0x33)));
    let sum = body.iter().map(|byte| u32::from(*byte)).sum::<u32>() as u8;
    [vec![0xFE; usize::from(wakeup)], body, vec![sum, 0x16]].concat()
}

/// Twelve digits, the last pair first.
fn wire_address(meter: &str) -> [u8; 6] {
    let digits = format!("{meter:0>12}");
    std::array::from_fn(|at| {
        let pair = digits.get(10 - 2 * at..12 - 2 * at);
        pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::profile::Dlt645Item;

    #[test]
    fn frames_as_captured_from_the_package_dlt645() {
        let item = Dlt645Item { id: 0x0201_0100, every: Duration::from_secs(1), length: 2 };
        let link = Dlt645Link {
            items: vec![item],
            wakeup: 4,
            timeout: Duration::from_secs(1),
            retries: 0,
            turnaround: Duration::ZERO,
        };
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" ");
        assert_eq!(
            hex(&requests(&link, "121078563412")[0]),
            "FE FE FE FE 68 12 34 56 78 10 12 68 11 04 33 34 34 35 EB 16"
        );
        let answer = reply(&link, "121078563412", 0, &[0x01, 0x22]).unwrap();
        assert_eq!(hex(&answer), "FE FE FE FE 68 12 34 56 78 10 12 68 91 06 33 34 34 35 34 55 F6 16");
    }
}
