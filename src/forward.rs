//! A value that is borrowed or boxed does what the value itself does.

/// Implements a trait for `&mut T` and `Box<T>`: each of its methods, provided ones too, is passed on to `T`.
macro_rules! forward {
    ($trait:ident $methods:tt) => {
        forward!(@ $trait for &mut T, $methods);
        forward!(@ $trait for Box<T>, $methods);
    };
    (@ $trait:ident for $owner:ty, {
        $(type $type:ident;)+
        &mut self: $(fn $change:ident($($put:ident: $kind:ty),*) $(-> $given:ty)?;)*
        $(&self: $(fn $ask:ident($($by:ident: $sort:ty),*) $(-> $told:ty)?;)*)?
    }) => {
        impl<T: $trait + ?Sized> $trait for $owner {
            $(type $type = T::$type;)+
            $(fn $change(&mut self, $($put: $kind),*) $(-> $given)? {
                (**self).$change($($put),*)
            })*
            $($(fn $ask(&self, $($by: $sort),*) $(-> $told)? {
                (**self).$ask($($by),*)
            })*)?
        }
    };
}
