//! Products for the tests of rooms that never decode: they can be asked, what they answer means nothing.

use std::{sync::Arc, time::Duration};

use super::{
    Class, Link, Point, Profile, Read,
    decode::Decoder,
    plan::{Absent, Plan, Take, Turn},
    quick::Quick,
};

impl Profile {
    pub fn bare(link: Link, points: impl IntoIterator<Item = (Read, Duration)>) -> Self {
        let points = points.into_iter().enumerate().map(|(n, (read, every))| Point {
            name: format!("point_{n}").into(),
            class_point: 0,
            every,
            read,
            plan: Plan { take: Take::Bit, absent: Absent::default(), turn: Turn::Flag(None) },
        });
        let class = Class {
            name: "test".into(),
            title: Default::default(),
            points: vec![],
            alarms: vec![],
            credit: None,
        };
        Self {
            id: "test/maker-model".into(),
            revision: 1,
            title: Default::default(),
            products: vec![],
            source: String::new(),
            class: Arc::new(class),
            points: points.collect(),
            commands: vec![],
            link,
            credit: None,
            decoder: Decoder::Frames,
            quick: Quick::default(),
        }
    }
}
