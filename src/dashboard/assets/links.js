// Addresses of views.

const part = encodeURIComponent

export const instanceLink = one => `#/instance/${part(one.service_name)}/${part(one.instance_name)}`
export const routeLink = one => `#/route/${part(one.service_name)}/${part(one.instance_name)}/${part(one.route_id)}`
export const requestLink = id => `#/requests/${part(id)}`

export function viewLink(view, query) {
  const set = new URLSearchParams(Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null && value !== ''))
  return `#/${view}${set.size > 0 ? `?${set}` : ''}`
}
