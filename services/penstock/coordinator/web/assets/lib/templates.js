// An earlier job as the start of a new one: its settings, and with `again` its images as well.

// The job that an address names: `#/template/ID` or `#/again/ID`; null for another address.
export function templateAt(address) {
  const [, kind, id] = /^#\/(template|again)\/([\w-]+)$/.exec(address) || [];
  return kind ? { id, again: kind === "again" } : null;
}

export const templateUrl = (job) => `#/template/${job.id}`;
export const againUrl = (job) => `#/again/${job.id}`;
