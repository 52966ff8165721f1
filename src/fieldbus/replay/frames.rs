//! A serial line of declared frames from its tape.

use std::sync::Arc;

use super::Stage;
use crate::{
    domain::{BusId, DeviceIx, Failure, PointIx, Raw, Stamp, Text},
    fieldbus::{
        BusDevice,
        frames::Cut,
        plan,
        serial::{
            codec::Cutter,
            members::{Meaning, Members, Question},
        },
    },
    text,
};

pub struct Serial {
    members: Members,
    cutter: Cutter,
    devices: Vec<(DeviceIx, Vec<Arc<[PointIx]>>)>,
    waiting: Option<Question>,
}

impl Serial {
    pub fn new(bus: &BusId, devices: &[BusDevice]) -> Result<Self, Text> {
        let members = Members::new(bus, devices).map_err(|error| text!("{error}", "failed to {error}"))?;
        let known = devices.iter().map(|device| (device.ix, plan::frames(&device.profile))).collect();
        Ok(Self { cutter: members.cutter(), members, devices: known, waiting: None })
    }

    pub fn sent(&mut self, bytes: &[u8], at: Stamp, stage: &mut Stage<'_>) {
        if let Some(before) = self.waiting.take() {
            let device = self.devices[before.member].0;
            stage.failed(device, self.points(before.member, before.request), Failure::Silent, at);
        }
        let members = 0..self.devices.len();
        let mut questions = members.flat_map(|member| {
            let requests = self.members.link(member).requests.len() as u16;
            (0..requests).map(move |request| Question { member, request })
        });
        self.waiting =
            questions.find(|question| self.members.encode(*question).is_some_and(|frame| frame == bytes));
        if self.waiting.is_none() {
            stage.unknown(
                at,
                bytes,
                text!("发出的不是模板里的请求", "what was sent is no request of a profile"),
            );
        }
    }

    pub fn heard(&mut self, bytes: &[u8], at: Stamp, stage: &mut Stage<'_>) {
        for frame in self.cutter.push(bytes) {
            match self.members.meaning(&frame, self.waiting) {
                Meaning::Answer(raw) => {
                    let member = self.waiting.take().map_or(0, |question| question.member);
                    self.tell(member, raw, at, stage);
                }
                Meaning::Event(device, raw) => {
                    let member = self.devices.iter().position(|(ix, _)| *ix == device).unwrap_or_default();
                    self.tell(member, raw, at, stage);
                }
                Meaning::Late(_) => stage.unknown(at, &frame, text!("应答迟到", "a late answer")),
                Meaning::Unknown => stage.unknown(at, &frame, text!("不认识的帧", "a frame of nobody")),
            }
        }
        if self.cutter.take_garbled() > 0 {
            stage.unknown(at, bytes, text!("长度或校验不对", "a wrong length or checksum"));
        }
    }

    fn tell(&self, member: usize, raw: Raw, at: Stamp, stage: &mut Stage<'_>) {
        let Raw::Frame { frame, .. } = &raw else { return };
        let points = self.points(member, *frame);
        stage.answered(self.devices[member].0, points, raw, at);
    }

    fn points(&self, member: usize, frame: u16) -> Arc<[PointIx]> {
        self.devices[member].1.get(usize::from(frame)).cloned().unwrap_or_default()
    }
}
