// What is to be seen before there is a video, and how one gets in: chosen, dropped, or rendered as an example.

const $ = (id) => document.getElementById(id);

export class Welcome {
  // `hand` is told: file(file), example()
  constructor(hand) {
    this.hello = { max_upload_mb: 0, example: false };
    for (const id of ["open", "choose"]) $(id).addEventListener("click", () => $("file").click());
    $("example").addEventListener("click", () => hand.example());
    $("file").addEventListener("change", () => {
      if ($("file").files.length) hand.file($("file").files[0]);
      $("file").value = ""; // so that the same file can be chosen again
    });
    takeDrops((file) => hand.file(file));
  }

  invite() {
    document.body.classList.add("empty");
    $("welcome-title").textContent = "Drop a video here";
    $("welcome-text").textContent = "then click the points to follow";
    $("limits").textContent = `Up to ${this.hello.max_upload_mb} MB. It stays on the machine that runs this page.`;
    $("welcome-buttons").hidden = $("limits").hidden = false;
    $("example").hidden = !this.hello.example;
    $("upload").hidden = true;
  }

  waitFor(title, text, { share = null } = {}) {
    document.body.classList.add("empty");
    $("welcome-title").textContent = title;
    $("welcome-text").textContent = text;
    $("welcome-buttons").hidden = $("limits").hidden = true;
    $("upload").hidden = share === null;
    $("upload").value = share ?? 0;
  }

  close() {
    document.body.classList.remove("empty");
  }
}

function takeDrops(take) {
  let depth = 0; // dragenter and dragleave come for each element on the way
  const mark = () => document.body.classList.toggle("dropping", depth > 0);
  document.addEventListener("dragenter", () => { depth += 1; mark(); });
  document.addEventListener("dragleave", () => { depth -= 1; mark(); });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    mark();
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
}
