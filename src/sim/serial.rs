//! Simulated devices on a serial line with frames of its own, or meters on theirs: each answers the requests of its profile.

use std::{io, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{Pty, SimDevice};

/// A request as it comes over the line, and whom it is for.
struct Expected {
    bytes: Vec<u8>,
    device: Arc<SimDevice>,
    request: u16,
}

/// Answers on the line until told to stop.
///
/// # Errors
/// If the line is gone.
pub async fn serve_serial(
    line: &mut Pty,
    devices: &[Arc<SimDevice>],
    stop: CancellationToken,
) -> io::Result<()> {
    let expected = expect(devices);
    let mut heard = Vec::new();
    let mut chunk = [0; 256];
    loop {
        let count = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            read = line.read(&mut chunk) => read?,
        };
        heard.extend_from_slice(&chunk[..count]);
        for (device, request) in requests(&mut heard, &expected) {
            if let Some(frame) = device.reply(request) {
                line.write(&frame).await?;
            }
        }
    }
}

fn expect(devices: &[Arc<SimDevice>]) -> Vec<Expected> {
    let of = |device: &Arc<SimDevice>| {
        let requests = (0..).zip(device.requests());
        let device = Arc::clone(device);
        requests
            .map(move |(request, bytes)| Expected { bytes, device: Arc::clone(&device), request })
            .collect::<Vec<_>>()
    };
    devices.iter().flat_map(of).collect()
}

/// The whole requests in `heard`; what may still become one stays in it.
fn requests(heard: &mut Vec<u8>, expected: &[Expected]) -> Vec<(Arc<SimDevice>, u16)> {
    let mut asked = Vec::new();
    let mut done = 0;
    while done < heard.len() {
        let rest = &heard[done..];
        if let Some(whole) = expected.iter().find(|one| rest.starts_with(&one.bytes)) {
            asked.push((Arc::clone(&whole.device), whole.request));
            done += whole.bytes.len().max(1);
        } else if expected.iter().any(|one| one.bytes.starts_with(rest)) {
            break;
        } else {
            done += 1;
        }
    }
    heard.drain(..done);
    asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Address, Library};

    #[test]
    fn requests_are_told_apart_in_noise_and_in_pieces() {
        let library = Library::shipped(&mut Default::default());
        let profile = library.profile("access-gate/osdp-v2-reader").unwrap();
        let reader =
            |address: &str| Arc::new(SimDevice::new(Arc::clone(&profile), Address::Text(address.to_owned())));
        let expected = expect(&[reader("1"), reader("2")]);
        let second_reader = reader("2").requests();
        let mut heard = vec![0xFF, 0x53, 0x00];
        heard.extend(&second_reader[1]);
        heard.extend(&second_reader[0][..4]);
        let asked: Vec<u16> =
            requests(&mut heard, &expected).into_iter().map(|(_, request)| request).collect();
        assert_eq!(asked, [1], "one is whole");
        heard.extend(&second_reader[0][4..]);
        let asked = requests(&mut heard, &expected);
        assert_eq!(asked.len(), 1, "the rest came");
        assert_eq!((asked[0].1, asked[0].0.requests()), (0, second_reader));
        assert!(heard.is_empty(), "nothing is left over");
    }
}
