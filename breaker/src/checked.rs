//! Settings that are valid once they have been read.

/// `Serialize` and `Deserialize` for settings with a `validate`: what does not pass is not read.
///
/// Their derives have `remote = "Self"`, which makes them inherent functions, so that the traits' own
/// can call them and then check what came.
macro_rules! checked {
    ($($settings:ty),+ $(,)?) => {$(
        impl serde::Serialize for $settings {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $settings {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let settings = Self::deserialize(deserializer)?;
                settings.validate().map_err(serde::de::Error::custom)?;
                Ok(settings)
            }
        }
    )+};
}

pub(crate) use checked;
