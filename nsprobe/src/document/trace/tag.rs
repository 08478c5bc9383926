//! The types of lines.

use serde::{Deserialize, Serialize};

macro_rules! tags {
    ($($name:ident $text:literal;)*) => {
        $(
            /// The type of a line.
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
            pub enum $name {
                /// The only one.
                #[default]
                #[serde(rename = $text)]
                Tag,
            }

            #[cfg(feature = "schema")]
            impl schemars::JsonSchema for $name {
                fn inline_schema() -> bool {
                    true
                }

                fn schema_name() -> std::borrow::Cow<'static, str> {
                    concat!("type_", $text).into()
                }

                fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                    schemars::json_schema!({ "const": $text })
                }
            }
        )*
    };
}

tags! {
    Start "start";
    Event "event";
    Created "created";
    Destroyed "destroyed";
    Lost "lost";
    Rebuilt "rebuilt";
    End "end";
}
