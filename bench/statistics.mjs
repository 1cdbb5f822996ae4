// Medians, quartiles, and ratios pair by pair: one side compared with another at the same moment.

export const median = values => quantile(values, 0.5)

/** `[first quartile, median, third quartile]`. */
export const quartiles = values => [0.25, 0.5, 0.75].map(share => quantile(values, share))

/** The quantile of a share of the values. */
export function quantile(values, share) {
  const sorted = [...values].sort((one, other) => one - other)
  const place = share * (sorted.length - 1)
  const below = sorted[Math.floor(place)]
  return below + (sorted[Math.ceil(place)] - below) * (place % 1)
}

/** Quartiles over all pairs of `value` of two sides' measurements. */
export const paired = (pairs, [one, other], value) => quartiles(pairs.map(pair => value(pair[one], pair[other])))

export const rateRatio = (one, other) => one.tokensPerSecond / other.tokensPerSecond
export const cpuRatio = (one, other) => one.cpuMsPerToken / other.cpuMsPerToken
export const addedFirstMs = (one, other) => one.firstMs - other.firstMs
