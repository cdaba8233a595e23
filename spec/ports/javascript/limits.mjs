// The limits of a pool, checked where they are made (rule LIM-1 of ../../README.md).
//
// Theory.  A table of fields, each with what it allows and what it is if nobody says.
// The machine takes limits as they come out of here and never looks at them again.

const whole = (least) => ({
  allowed: `a whole number, ${least} or more`,
  accepts: (value) => Number.isSafeInteger(value) && value >= least,
});

const seconds = {
  allowed: "a finite number of seconds above 0",
  accepts: (value) => typeof value === "number" && Number.isFinite(value) && value > 0,
};

const oneOf = (...values) => ({
  allowed: `one of ${values.join(", ")}`,
  accepts: (value) => values.includes(value),
});

const orNone = ({ allowed, accepts }) => ({
  allowed: `${allowed}, or none`,
  accepts: (value) => value === null || accepts(value),
});

const FIELDS = {
  max_size: { ...orNone(whole(1)), otherwise: 10 },
  min_idle: { ...whole(0), otherwise: 0 },
  max_lifetime: { ...orNone(seconds), otherwise: null },
  max_idle: { ...orNone(seconds), otherwise: null },
  max_waiting: { ...orNone(whole(0)), otherwise: null },
  max_opening: { ...orNone(whole(1)), otherwise: null },
  max_connecting: { ...orNone(whole(1)), otherwise: null },
  leak_after: { ...orNone(seconds), otherwise: null },
  idle_order: { ...oneOf("oldest", "lifo", "fifo"), otherwise: "lifo" },
  opener: { ...oneOf("caller", "background"), otherwise: "caller" },
  backoff_initial: { ...seconds, otherwise: 0.1 },
  backoff_max: { ...seconds, otherwise: 1.0 },
};

export class InvalidLimits extends Error {
  constructor(field, value, allowed) {
    super(`${field}=${JSON.stringify(value)}: allowed is ${allowed}`);
    Object.assign(this, { field, value, allowed });
  }
}

// LIM-1: the whole set of limits, with what was not given filled in; throws InvalidLimits.
export function makeLimits(given = {}) {
  const limits = {};
  for (const [field, { allowed, accepts, otherwise }] of Object.entries(FIELDS)) {
    limits[field] = Object.hasOwn(given, field) ? given[field] : otherwise;
    if (!accepts(limits[field])) throw new InvalidLimits(field, limits[field], allowed);
  }
  const { max_size, min_idle, opener, backoff_initial, backoff_max } = limits;
  if (max_size !== null && min_idle > max_size)
    throw new InvalidLimits("min_idle", min_idle, `at most max_size, which is ${max_size}`);
  if (opener === "caller" && min_idle !== 0)
    throw new InvalidLimits("min_idle", min_idle, "0 where the opener is caller");
  if (backoff_max < backoff_initial)
    throw new InvalidLimits("backoff_max", backoff_max, `at least backoff_initial, ${backoff_initial}`);
  return Object.freeze(limits);
}
