/** A nominal type over `T`: two brands over the same base cannot be passed for one another. */
export type Brand<T, B extends string> = T & { readonly __brand: B };

/** A span or a reading of a clock, in milliseconds (fractions allowed). */
export type Millis = number;
