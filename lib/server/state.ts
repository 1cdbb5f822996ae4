// The state of the server, for probes and for Prometheus.

import { type Exchange, json } from './exchange'

/** Names the server, for clients that probe it. */
export function index(): Response {
  return json({ name: 'mlx-serving' })
}

/** The process answers. */
export function health(): Response {
  return json({ status: 'ok' })
}

/**
 * The server takes requests: it has loaded its models and does not close, and its engine can serve them. A model that was
 * unloaded is no reason against it, because the next request loads it.
 */
export function ready({ site }: Exchange): Response {
  const phase = site.phase()
  const { status, reasons } = site.engine.health()
  if (phase !== 'ready') return json({ status: phase }, { status: 503 })
  if (status === 'ready' || status === 'live') return json({ status: 'ready' })
  return json({ status, reasons: reasons.map(({ code }) => code) }, { status: 503 })
}

/** The metrics of the engine, for Prometheus. */
export function metrics({ site }: Exchange): Response {
  const headers = { 'content-type': 'application/openmetrics-text; version=1.0.0; charset=utf-8' }
  return new Response(site.engine.metrics(), { headers })
}
