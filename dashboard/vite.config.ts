import { defineConfig } from "vite";

// `npm run dev` serves the page itself and hands everything else to a job monitor that runs on its default address.
const monitor = "http://127.0.0.1:4000";

export default defineConfig({
  build: { target: "es2022", assetsInlineLimit: 0 },
  server: {
    proxy: {
      "/jobs": monitor,
      "/socket.io": { target: monitor, ws: true },
    },
  },
});
