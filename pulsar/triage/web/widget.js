// In the notebook: a frame with the page, between which and the kernel messages go. It has an origin of its own: nothing
// in it can reach the notebook, and keys that are pressed in it are the page's alone.

function render({ model, el }) {
  const view = String(Math.random());
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.title = "Candidates";
  Object.assign(frame.style, { width: "100%", height: `${HEIGHT}px`, border: "1px solid #8886" });
  const asked = event => {
    if (event.source === frame.contentWindow) model.send({ ...event.data, view });
  };
  const answered = (answer, [content]) => {
    if (answer.view !== view) return;
    if (answer.path === "") frame.srcdoc = new TextDecoder().decode(content);
    else frame.contentWindow.postMessage({ ...answer, content }, "*");
  };
  window.addEventListener("message", asked);
  model.on("msg:custom", answered);
  el.append(frame);
  model.send({ path: "", view });
  return () => {
    window.removeEventListener("message", asked);
    model.off("msg:custom", answered);
  };
}

export default { render };
