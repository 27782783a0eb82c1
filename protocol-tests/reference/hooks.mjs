// The contract's variable HOOKS on Node's own server: what options cannot say in JSON, because on Node it is a function.

const hooks = JSON.parse(process.env.HOOKS ?? "{}");

// Hooks that are options of the constructor.
export function hookOptions() {
  return hooks.allowRequest === undefined ? {} : { allowRequest };
}

// Hooks that are set on an engine; `log` is the app's own, where it has one.
export function hookInto(engine, log = []) {
  if (hooks.generateId) engine.generateId = idGenerator(hooks.generateId);
  for (const [event, values] of [["initial_headers", hooks.initialHeaders], ["headers", hooks.headers]]) {
    if (values) engine.on(event, (headers) => Object.assign(headers, values));
    if (hooks.log?.includes("headers")) engine.on(event, (_headers, request) => log.push({ [event]: request.method }));
  }
  if (hooks.log?.includes("upgrades")) {
    engine.on("connection", (socket) => {
      for (const event of ["upgrading", "upgrade"]) socket.on(event, (transport) => log.push({ [event]: transport.name }));
    });
  }
  for (const middleware of hooks.middlewares ?? []) engine.use(middlewareOf(middleware, log));
}

// Hooks of Socket.IO: namespaces that refuse everybody.
export function hookIntoNamespaces(io) {
  for (const [name, { message, data }] of Object.entries(hooks.refuse ?? {})) {
    io.of(name).use((_socket, next) => next(Object.assign(new Error(message), data === undefined ? {} : { data })));
  }
}

function allowRequest(_request, answer) {
  const { result, delay } = typeof hooks.allowRequest === "object" ? hooks.allowRequest : { result: hooks.allowRequest };
  const decide = () => (typeof result === "string" ? answer(result, false) : answer(null, result));
  if (delay === undefined) decide();
  else setTimeout(decide, delay);
}

function idGenerator(kind) {
  let count = 0;
  switch (kind) {
    case "counter":
      return () => `custom-${++count}`;
    case "promise":
      return async () => `custom-${++count}`;
    case "reject":
      return () => Promise.reject(new Error("no id"));
    default:
      throw new Error(`HOOKS: generateId is ${kind}, accepted is counter, promise or reject`);
  }
}

function middlewareOf(what, log) {
  const [[kind, value]] = Object.entries(what);
  switch (kind) {
    case "header":
      return (_request, response, next) => {
        response.setHeader(...value);
        next();
      };
    case "lateHeader":
      return (_request, response, next) => {
        const { writeHead } = response;
        response.writeHead = (...args) => {
          response.setHeader(...value);
          return writeHead.apply(response, args);
        };
        next();
      };
    case "log":
      return (_request, _response, next) => {
        log.push({ middleware: value });
        next();
      };
    case "delay":
      return (_request, _response, next) => setTimeout(next, value);
    case "end":
      return (_request, response) => {
        response.writeHead(value);
        response.end();
      };
    case "fail":
      return (_request, _response, next) => next(new Error(value));
    case "throw":
      return () => {
        throw new Error(value);
      };
    default:
      throw new Error(`HOOKS: there is no middleware ${kind}`);
  }
}
