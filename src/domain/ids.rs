//! Names that people write and read: cheap to clone, never mixed up with one another.

use std::{borrow::Borrow, fmt, ops::Deref, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(with = "String", inline)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: impl Into<Arc<str>>) -> Self { Self(text.into()) }
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl From<&str> for $name { fn from(text: &str) -> Self { Self(text.into()) } }
        impl From<String> for $name { fn from(text: String) -> Self { Self(text.into()) } }
        impl Deref for $name { type Target = str; fn deref(&self) -> &str { &self.0 } }
        impl Borrow<str> for $name { fn borrow(&self) -> &str { &self.0 } }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(&self.0) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Debug::fmt(&self.0, f) }
        }
    )+};
}

id! {
    /// One line or connection that devices hang on.
    BusId,
    /// One polled thing in the compound.
    DeviceId,
    /// Somebody who is told.
    EndpointId,
    /// A kind of device: `elevator`, `parking-sensor`.
    ClassName,
    /// One product: `<class>/<maker>-<model>`.
    ProfileId,
    /// A standard point of a class: `floor`.
    PointName,
    /// A standard alarm of a class: `passenger_trapped`.
    AlarmName,
    /// Something a product can be told to do: `set_dimming`.
    CommandName,
    /// One raise of one alarm until it is closed: `<epoch>-<seq of the raise>`.
    OccurrenceId,
}
