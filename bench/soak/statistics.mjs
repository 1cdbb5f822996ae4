// A robust estimate of a slope: the median of the slopes of all pairs of points (Theil and Sen), which a few outliers do not
// move, with its 95 % confidence interval from the distribution of Kendall's tau.

const NORMAL_QUANTILE = 1.96

/** `{ low, slope, high }` of points `[x, y]` with different `x`. At least three points. */
export function slopeOf(points) {
  const slopes = points
    .flatMap(([x, y], index) => points.slice(index + 1).map(([otherX, otherY]) => (otherY - y) / (otherX - x)))
    .sort((one, other) => one - other)
  const n = points.length
  const spread = NORMAL_QUANTILE * Math.sqrt((n * (n - 1) * (2 * n + 5)) / 18)
  const at = place => slopes[Math.min(slopes.length - 1, Math.max(0, Math.round(place)))]
  const middle = (slopes.length - 1) / 2
  return {
    low: at(middle - spread / 2),
    slope: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2,
    high: at(middle + spread / 2),
  }
}
