//! What real devices send around the points of their profiles.

use serde_json::json;

use super::SimDevice;

/// `device` with the frames and messages that its product is known to send.
///
/// OSDP frames as captured from libosdp run as a reader, the elevator terminal's block as in its makers' tests, the LoRaWAN
/// envelope as ChirpStack's message definition has it (the profiles name these sources).
pub(super) fn furnish(device: SimDevice, address: &str) -> SimDevice {
    match device.profile().id.as_str() {
        "access-gate/osdp-v2-reader" => device
            .with_frame("poll", &[0x53, 0x80, 0, 0, 0x04, 0x40])
            .with_frame("local_status", &[0x53, 0x80, 0, 0, 0x04, 0x48, 0, 0])
            .with_frame("input_status", &[0x53, 0x80, 0, 0, 0x04, 0x49, 0])
            .with_frame("card", &[0x53, 0x80, 0, 0, 0x04, 0x50, 0, 1]),
        // Unix time (not read), layout 1, 15 bytes of fields.
        "elevator/shmashine-carroof" => device
            .with_block(&[0, 0x51, 0x53, 0x65, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0x14])
            .with_message(json!({ "elevatorCode": address, "sensorType": "CarRoof" })),
        "parking-sensor/bosch-tps110" => device.with_message(json!({
            "deviceInfo": { "devEui": address, "deviceName": address },
            "fPort": 1,
            "object": { "type": "parking status" },
        })),
        _ => device,
    }
}
