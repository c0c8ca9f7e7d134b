//! Open registries: numbers on the wire that have names, and may be unknown.
//!
//! A newtype with constants instead of an enum, so that an unknown value survives from the wire to the log and back.

/// Defines a registry newtype.
///
/// Each entry gives a constant, its number, its name, and other names that `from_name` understands too. The format after
/// `unknown` displays a number without a name.
macro_rules! registry {
    (
        $(#[$attribute:meta])*
        pub struct $Registry:ident($number:ty), unknown $unknown:literal {
            $($CONSTANT:ident = $value:literal, $name:literal $(| $alias:literal)*;)*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $Registry(pub $number);

        impl $Registry {
            $(
                #[doc = concat!("`", $name, "`, ", stringify!($value), ".")]
                pub const $CONSTANT: Self = Self($value);
            )*

            /// Every value with a name, in registry order.
            pub const ALL: &'static [Self] = &[$(Self::$CONSTANT),*];

            /// The value's name, if it is a known one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($name),)*
                    _ => None,
                }
            }

            /// The value of that name, upper and lower case alike.
            pub fn from_name(name: &str) -> Option<Self> {
                const NAMES: &[(&str, $Registry)] =
                    &[$(($name, $Registry::$CONSTANT), $(($alias, $Registry::$CONSTANT),)*)*];
                NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
            }
        }

        /// The name, or the number where it has none.
        impl core::fmt::Display for $Registry {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => f.pad(&alloc::format!($unknown, self.0)),
                }
            }
        }

        impl core::fmt::Debug for $Registry {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(self, f)
            }
        }
    };
}

pub(crate) use registry;

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    registry! {
        /// A registry for the test.
        pub struct Fruit(u16), unknown "fruit {:#06x}" {
            APPLE = 1, "apple";
            PEAR = 2, "pear" | "pyrus";
        }
    }

    #[test]
    fn known_values_have_names_and_unknown_ones_their_number() {
        assert_eq!(Fruit::PEAR.to_string(), "pear");
        assert_eq!(format!("{:?}", Fruit(0x0a0a)), "fruit 0x0a0a");
        assert_eq!(Fruit(3).name(), None);
        assert_eq!(Fruit::ALL, [Fruit(1), Fruit(2)]);
    }

    #[test]
    fn names_and_other_names_are_found() {
        assert_eq!(Fruit::from_name("Apple"), Some(Fruit::APPLE));
        assert_eq!(Fruit::from_name("pyrus"), Some(Fruit::PEAR));
        assert_eq!(Fruit::from_name("plum"), None);
    }
}
