//! Texts of a fixed form.

use crate::model::NsKey;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident $pattern:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
            #[serde(transparent)]
            pub struct $name<'a>(pub Cow<'a, str>);

            #[cfg(feature = "schema")]
            impl schemars::JsonSchema for $name<'_> {
                fn inline_schema() -> bool {
                    true
                }

                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
                }

                fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                    schemars::json_schema!({ "type": "string", "pattern": $pattern })
                }
            }
        )*
    };
}

texts! {
    /// The id of a stream.
    StreamId "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$";
    /// The content of `/etc/machine-id`.
    MachineId "^[0-9a-fA-F]{32}$";
    /// The id of a boot.
    BootId "^[0-9a-f-]{36}$";
    /// The key of a namespace.
    Key r"^(cgroup|ipc|mnt|net|pid|time|user|uts)(#\d+|:\d+(@\d+\.\d{9})?)$";
    /// Capabilities, as in `/proc/PID/status`.
    Capabilities "^[0-9a-f]{16}$";
    /// The name of a flag, or bits without a name.
    Flag "^((CLONE|UNSHARE)_[A-Z_]+|0x[0-9a-f]+)$";
    /// The name of an error.
    Errno r"^(E[A-Z0-9_]+|errno \d+)$";
}

impl From<NsKey> for Key<'_> {
    fn from(key: NsKey) -> Self {
        Self(key.to_string().into())
    }
}
