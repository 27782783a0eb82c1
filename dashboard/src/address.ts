// The address bar and the tab's memory: which token, which job.
//
// A token comes in the fragment (`#token=…`), which browsers never send to a server, and leaves the address bar at
// once, so that it is neither shared with a copied address nor kept in the history.

const TOKEN = "job-monitor-token";

/** The token of the fragment, else the one this tab already has. */
export function takeToken(): string | null {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  if (token !== null) {
    keepToken(token);
    fragment.delete("token");
    replaceFragment(fragment);
  }
  return sessionStorage.getItem(TOKEN);
}

export function keepToken(token: string): void {
  sessionStorage.setItem(TOKEN, token);
}

export function forgetToken(): void {
  sessionStorage.removeItem(TOKEN);
}

export function selectedJob(): string | null {
  return new URLSearchParams(location.hash.slice(1)).get("job");
}

export function showSelectedJob(jobId: string): void {
  replaceFragment(new URLSearchParams({ job: jobId }));
}

function replaceFragment(fragment: URLSearchParams): void {
  const text = fragment.toString();
  history.replaceState(null, "", location.pathname + (text === "" ? "" : `#${text}`));
}
