// Ink and pictures → the small image that the network takes, as the Python of Guarismo makes it.

const SIDE = 28, BOX = 20, MIDDLE = 14;

// Ink, 0 paper to 255, as MNIST was made: cut out, scaled into 20×20, centre of mass in the middle. Null where blank.
export function centred({ width, height, data }) {
  const box = inkBox({ width, height, data });
  if (!box) return null;
  const scale = BOX / Math.max(box.width, box.height);
  const small = scaled(cut(data, width, box), box, {
    width: Math.max(1, even(box.width * scale)),
    height: Math.max(1, even(box.height * scale)),
  });
  let total = 0, across = 0, down = 0;
  small.data.forEach((value, k) => {
    total += value;
    across += value * (k % small.width);
    down += value * Math.floor(k / small.width);
  });
  const left = within(even(MIDDLE - across / (total || 1)), SIDE - small.width);
  const top = within(even(MIDDLE - down / (total || 1)), SIDE - small.height);
  return pasted(small, new Uint8Array(SIDE * SIDE), SIDE, left, top);
}

function within(value, most) {
  return Math.min(Math.max(value, 0), most);
}

// The smallest box around what is above half.
function inkBox({ width, height, data }) {
  let left = width, right = -1, top = height, bottom = -1;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (data[y * width + x] <= 127) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = y;
    }
  }
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

function cut(data, width, box) {
  const part = new Float64Array(box.width * box.height);
  for (let y = 0; y < box.height; y++) {
    for (let x = 0; x < box.width; x++) part[y * box.width + x] = data[(y + box.top) * width + x + box.left];
  }
  return part;
}

function pasted(small, canvas, width, left, top) {
  for (let y = 0; y < small.height; y++) {
    for (let x = 0; x < small.width; x++) canvas[(y + top) * width + x + left] = small.data[y * small.width + x];
  }
  return canvas;
}

// Each pixel the mean of the area that it covers; rounded to whole numbers, halves to the even one.
export function scaled(data, from, to) {
  const across = shares(from.width, to.width), down = shares(from.height, to.height);
  const result = new Uint8ClampedArray(to.width * to.height);
  for (let y = 0; y < to.height; y++) {
    for (let x = 0; x < to.width; x++) {
      let total = 0;
      for (const [row, high] of down[y]) {
        for (const [column, wide] of across[x]) total += high * wide * data[row * from.width + column];
      }
      result[y * to.width + x] = even(total);
    }
  }
  return { ...to, data: result };
}

// For each of `to` pixels which of `from` pixels it covers, and by what share of itself.
function shares(from, to) {
  const step = from / to;
  return Array.from({ length: to }, (_, k) => {
    const start = k * step, end = Math.min((k + 1) * step, from), covered = [];
    for (let at = Math.floor(start); at < end - 1e-9; at++) {
      covered.push([at, (Math.min(at + 1, end) - Math.max(at, start)) / (end - start)]);
    }
    return covered;
  });
}

// The nearest whole number, the even one of two: as Python and OpenCV round.
export function even(value) {
  const low = Math.floor(value), rest = value - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

// A picture → the planes of its colours: one grey one by the weights of ITU-R 601, or three.
export function planes({ width, height, data }, channels) {
  const onWhite = (k, c) => 255 + ((data[4 * k + c] - 255) * data[4 * k + 3]) / 255;
  const plane = (value) => Float64Array.from({ length: width * height }, (_, k) => value(k));
  if (channels === 3) return [0, 1, 2].map((c) => plane((k) => onWhite(k, c)));
  return [plane((k) => 0.299 * onWhite(k, 0) + 0.587 * onWhite(k, 1) + 0.114 * onWhite(k, 2))];
}

// The median of the outermost pixels.
export function border({ width, height }, data) {
  const onEdge = (x, y) => x === 0 || y === 0 || x === width - 1 || y === height - 1;
  const edge = [...data].filter((_, k) => onEdge(k % width, Math.floor(k / width)));
  edge.sort((one, other) => one - other);
  return edge[Math.floor(edge.length / 2)];
}

// A grey picture of dark ink on paper, or the reverse → ink, 0 to 255.
export function inkOf(size, grey) {
  const paper = border(size, grey), signed = paper > 127 ? -1 : 1;
  const above = grey.map((value) => Math.max(0, signed * (value - paper)));
  const most = above.reduce((one, other) => Math.max(one, other), 0);
  return { ...size, data: above.map((value) => (most < 30 ? 0 : (255 * value) / most)) };
}

// A picture of any size → (height, width, channels): proportions kept, centred on the colour of its own border.
export function fitted(size, colours, [height, width, channels], invert) {
  const scale = Math.min(height / size.height, width / size.width);
  const to = { width: Math.max(1, even(size.width * scale)), height: Math.max(1, even(size.height * scale)) };
  const left = Math.floor((width - to.width) / 2), top = Math.floor((height - to.height) / 2);
  const result = new Uint8Array(height * width * channels);
  colours.forEach((colour, channel) => {
    const ground = new Uint8Array(height * width).fill(Math.floor(border(size, colour)));
    const plane = pasted(scaled(colour, size, to), ground, width, left, top);
    plane.forEach((value, k) => { result[k * channels + channel] = invert ? 255 - value : value; });
  });
  return result;
}
