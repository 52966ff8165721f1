//! What an endpoint is for and what it may know. Default deny: nothing leaves that is not named.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{ClassName, DataClass, EndpointId, Loss, LossClass, Priority, Text},
    text,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    SafetyInspection,
    PublicSecurity,
    Medical,
    Property,
    CityPlatform,
    Service,
}

impl Purpose {
    /// Whether what it is there for takes data of this class. What it does not take it should not get (PIPL, articles 6
    /// and 19: as little as the purpose needs); the site file decides, and is warned.
    pub fn needs(self, data: DataClass) -> bool {
        use DataClass::{Health, Operational, Personal, Public, Security};
        match (self, data) {
            (_, Public | Operational) => true,
            (Self::SafetyInspection | Self::CityPlatform, Security | Personal | Health) => false,
            // who was at which door
            (Self::PublicSecurity | Self::Property, Security | Personal) => true,
            (Self::PublicSecurity | Self::Property, Health) => false,
            (Self::Medical, Personal | Health) => true,
            (Self::Medical, Security) => false,
            // whose points or bill it is
            (Self::Service, Personal) => true,
            (Self::Service, Security | Health) => false,
        }
    }

    /// Whether it is there to keep points, or to balance them.
    pub fn keeps_credits(self) -> bool {
        match self {
            Self::Service | Self::Property | Self::CityPlatform => true,
            Self::SafetyInspection | Self::PublicSecurity | Self::Medical => false,
        }
    }

    /// Whether the card on which points are kept is its business. For everyone else a pseudonym stands for it.
    pub fn keeps_cards(self) -> bool {
        match self {
            Self::Service => true,
            Self::SafetyInspection
            | Self::PublicSecurity
            | Self::Medical
            | Self::Property
            | Self::CityPlatform => false,
        }
    }

    /// The word of the contract.
    pub fn word(self) -> &'static str {
        match self {
            Self::SafetyInspection => "safety-inspection",
            Self::PublicSecurity => "public-security",
            Self::Medical => "medical",
            Self::Property => "property",
            Self::CityPlatform => "city-platform",
            Self::Service => "service",
        }
    }

    pub fn title(self) -> Text {
        match self {
            Self::SafetyInspection => text!("安全监察", "safety inspection"),
            Self::PublicSecurity => text!("公安", "public security"),
            Self::Medical => text!("医疗急救", "medical"),
            Self::Property => text!("物业", "property management"),
            Self::CityPlatform => text!("城市平台", "city platform"),
            Self::Service => text!("便民服务", "service"),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Wants {
    pub classes: Vec<ClassName>,
    pub priorities: Vec<Priority>,
    /// Data classes this endpoint may see; all other fields are left out.
    pub data: Vec<DataClass>,
    /// Telemetry too, in batches.
    pub readings: bool,
    /// Points that are given for what people bring: `gatehouse.kiosk.credit`, of devices of these `classes`.
    pub credits: bool,
    /// Whose they are, in clear text: by its purpose, and nothing that a site file can say.
    #[serde(skip)]
    pub cards: bool,
}

impl Wants {
    /// Whether alarms of this priority are wanted, of a device that stands for any of `classes`.
    pub fn is_alarm_wanted<'a>(
        &self,
        priority: Priority,
        mut classes: impl Iterator<Item = &'a ClassName>,
    ) -> bool {
        self.priorities.contains(&priority) && classes.any(|class| self.classes.contains(class))
    }

    pub fn may_see(&self, data: DataClass) -> bool {
        self.data.contains(&data)
    }

    /// A value of a person, and besides that the card on which points are kept.
    pub fn may_see_card(&self) -> bool {
        self.cards && self.may_see(DataClass::Personal)
    }

    /// Whether it hears of points that devices of this class give.
    pub fn is_credit_wanted(&self, class: &ClassName) -> bool {
        self.credits && self.classes.contains(class)
    }

    /// Whether `endpoint`, which wants this, is told of a loss: of its own letters, of events if it is told of any, of readings
    /// if it gets them.
    pub fn misses(&self, endpoint: &EndpointId, loss: &Loss) -> bool {
        match (&loss.endpoint, loss.class) {
            (Some(whose), _) => whose == endpoint,
            (None, LossClass::Alarms) => !self.classes.is_empty() && !self.priorities.is_empty(),
            (None, LossClass::Readings) => self.readings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_site_file() {
        use Purpose::*;
        for purpose in [SafetyInspection, PublicSecurity, Medical, Property, CityPlatform, Service] {
            assert_eq!(serde_json::to_value(purpose).unwrap(), purpose.word());
        }
        for data in DataClass::ALL {
            assert_eq!(serde_json::to_value(data).unwrap(), data.word());
        }
    }

    #[test]
    fn nobody_needs_what_is_of_persons_but_for_their_sake() {
        use Purpose::*;
        let takes = |data| {
            let all = [SafetyInspection, PublicSecurity, Medical, Property, CityPlatform, Service];
            all.into_iter().filter(|purpose| purpose.needs(data)).map(Purpose::word).collect::<Vec<_>>()
        };
        assert_eq!(takes(DataClass::Health), ["medical"]);
        assert_eq!(takes(DataClass::Personal), ["public-security", "medical", "property", "service"]);
        assert_eq!(takes(DataClass::Security), ["public-security", "property"]);
        assert_eq!(takes(DataClass::Operational).len(), 6);
    }
}
