// A network computed with plain arrays: what network.json and weights.bin hold, one image in, probabilities out.

export async function openNetwork(place) {
  const [about, weights] = await Promise.all([
    fetched(new URL("network.json", place)).then((answer) => answer.json()),
    fetched(new URL("weights.bin", place)).then((answer) => answer.arrayBuffer()),
  ]);
  return build(about, new DataView(weights));
}

async function fetched(place) {
  const answer = await fetch(place);
  if (!answer.ok) throw new Error(`${place.pathname}: ${answer.status}`);
  return answer;
}

// Every step becomes a function over arrays that are there once and for all; to answer is to call them in turn.
export function build(about, weights) {
  const image = new Float32Array(product(about.size));
  const values = { [about.input]: { shape: [1, ...about.size], data: image } };
  for (const [name, entry] of Object.entries(about.arrays)) values[name] = arrayOf(entry, weights);
  const work = [];
  for (const step of about.steps) {
    const inputs = step.inputs.map((name) => values[name]);
    if (VIEWS.has(step.operation)) {
      values[step.output] = { shape: step.shape, data: inputs[0].data };
      continue;
    }
    const out = { shape: step.shape, data: new Float32Array(product(step.shape)) };
    values[step.output] = out;
    work.push(OPERATIONS[step.operation](inputs, out, step.attributes));
  }
  const probabilities = values[about.output].data;
  const answer = (pixels) => {
    image.set(pixels);
    for (const done of work) done();
    return Float32Array.from(probabilities);
  };
  return { about, answer };
}

// How far this browser's answers to the patterns are from those of the run; where that is much, they are worth nothing.
export function difference(network) {
  const { images, answers } = network.about.patterns;
  const pixels = Uint8Array.from(atob(images), (letter) => letter.charCodeAt(0));
  const size = pixels.length / answers.length;
  const gaps = answers.map((wanted, k) => {
    const found = network.answer(pixels.subarray(k * size, (k + 1) * size));
    return Math.max(...wanted.map((value, place) => Math.abs(value - found[place])));
  });
  return gaps.every(Number.isFinite) ? Math.max(...gaps) : Infinity;
}

function arrayOf(entry, weights) {
  if (entry.values) return { shape: entry.shape, data: entry.values };
  const data = new Float32Array(product(entry.shape));
  for (let k = 0; k < data.length; k++) data[k] = weights.getFloat32(4 * (entry.offset + k), true);
  return { shape: entry.shape, data };
}

const product = (sides) => sides.reduce((one, other) => one * other, 1);

// Operations: (inputs, out, attributes) → a function that fills out.data

const VIEWS = new Set(["Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze"]);

function add(one, other) {
  return one + other;
}

const OPERATIONS = {
  Add: paired(add),
  Sub: paired((one, other) => one - other),
  Mul: paired((one, other) => one * other),
  Div: paired((one, other) => one / other),
  Max: paired(Math.max),
  Greater: paired((one, other) => Number(one > other)),
  Not: each((value) => Number(!value)),
  Relu: each((value) => (value > 0 ? value : 0)),
  Sigmoid: each((value) => 1 / (1 + Math.exp(-value))),
  Tanh: each(Math.tanh),
  Transpose: moved(transposed),
  Slice: moved(sliced),
  Concat: concat,
  Conv: convolution,
  MaxPool: pooling(Math.max, -Infinity, (total) => total),
  AveragePool: pooling(add, 0, (total, count) => total / count),
  GlobalMaxPool: ([image], out) => reduction(image, out, [...image.shape.keys()].slice(2), Math.max, -Infinity),
  ReduceSum: (inputs, out, attributes) => reduction(inputs[0], out, axesOf(inputs, attributes), add, 0),
  ReduceMean: mean,
  MatMul: ([left, right], out) => product2d(left, right, null, out, {}),
  Gemm: ([left, right, bias], out, attributes) => product2d(left, right, bias, out, attributes),
  Softmax: softmax,
};

function each(change) {
  return ([{ data }], out) => () => {
    for (let k = 0; k < data.length; k++) out.data[k] = change(data[k]);
  };
}

function paired(join) {
  return ([one, other], out) => {
    const left = spread(one.shape, out.shape), right = spread(other.shape, out.shape);
    return () => {
      for (let k = 0; k < out.data.length; k++) out.data[k] = join(one.data[left[k]], other.data[right[k]]);
    };
  };
}

// For each place of `shape` the place in an array of `own` shape that NumPy's broadcasting reads there.
function spread(own, shape) {
  const strides = stridesOf(own), lead = shape.length - own.length;
  return places(shape, (index) => {
    let place = 0;
    for (let axis = 0; axis < own.length; axis++) if (own[axis] > 1) place += index[axis + lead] * strides[axis];
    return place;
  });
}

function stridesOf(shape) {
  return shape.map((_, axis) => product(shape.slice(axis + 1)));
}

// One number for each index of `shape`, in order.
function places(shape, placeOf) {
  const index = shape.map(() => 0);
  const found = new Int32Array(product(shape));
  for (let k = 0; k < found.length; k++) {
    found[k] = placeOf(index);
    for (let axis = shape.length - 1; axis >= 0 && ++index[axis] === shape[axis]; axis--) index[axis] = 0;
  }
  return found;
}

function moved(sources) {
  return (inputs, out, attributes) => {
    const [{ data }] = inputs, from = sources(inputs, out, attributes);
    return () => {
      for (let k = 0; k < from.length; k++) out.data[k] = data[from[k]];
    };
  };
}

function transposed([{ shape }], out, { perm }) {
  const strides = stridesOf(shape);
  return places(out.shape, (index) => perm.reduce((place, axis, k) => place + index[k] * strides[axis], 0));
}

function sliced([{ shape }, starts, ends, axes, steps], out) {
  const strides = stridesOf(shape), first = shape.map(() => 0), stride = shape.map(() => 1);
  starts.data.forEach((start, k) => {
    const axis = axes ? (axes.data[k] + shape.length) % shape.length : k;
    stride[axis] = steps ? steps.data[k] : 1;
    first[axis] = Math.min(start < 0 ? start + shape[axis] : start, shape[axis] - (stride[axis] < 0 ? 1 : 0));
  });
  const from = (at, axis) => (first[axis] + at * stride[axis]) * strides[axis];
  return places(out.shape, (index) => index.reduce((place, at, axis) => place + from(at, axis), 0));
}

function concat(inputs, out, { axis }) {
  const along = (axis + out.shape.length) % out.shape.length;
  const outer = product(out.shape.slice(0, along));
  return () => {
    let place = 0;
    for (let k = 0; k < outer; k++) {
      for (const { data } of inputs) {
        const part = data.length / outer;
        for (let j = 0; j < part; j++) out.data[place++] = data[k * part + j];
      }
    }
  };
}

// Places in one plane of (…, height, width) under each window of it, row by row; -1 where it reaches over the edge.
function windows([height, width], spots, kernel, { strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1] }) {
  return places([...spots, ...kernel], ([row, column, down, right]) => {
    const y = row * strides[0] + down * dilations[0] - pads[0];
    const x = column * strides[1] + right * dilations[1] - pads[1];
    return y >= 0 && y < height && x >= 0 && x < width ? y * width + x : -1;
  });
}

function convolution([{ shape, data }, filters, bias], out, attributes) {
  const [count, channels, ...plane] = shape, [wanted, own, ...kernel] = filters.shape, group = attributes.group ?? 1;
  const area = product(plane), spots = product(out.shape.slice(2)), under = product(kernel);
  const window = windows(plane, out.shape.slice(2), kernel, attributes);
  const patch = new Float64Array(own * under), sums = new Float64Array(wanted / group);
  return () => {
    for (let part = 0; part < count * group; part++) {
      const place = part % group, first = place * sums.length;
      const base = (Math.floor(part / group) * channels + place * own) * area;
      const to = (Math.floor(part / group) * wanted + first) * spots;
      for (let spot = 0; spot < spots; spot++) {
        for (let channel = 0, k = 0; channel < own; channel++) {
          for (let w = spot * under; w < (spot + 1) * under; w++) {
            patch[k++] = window[w] < 0 ? 0 : data[base + channel * area + window[w]];
          }
        }
        weigh(patch, filters.data, first * patch.length, sums);
        for (let k = 0; k < sums.length; k++) {
          out.data[to + k * spots + spot] = sums[k] + (bias ? bias.data[first + k] : 0);
        }
      }
    }
  };
}

// The sum of the patch under each filter. Four at a time: four sums that need not wait for each other.
function weigh(patch, weights, at, sums) {
  const length = patch.length;
  let filter = 0;
  for (; filter + 4 <= sums.length; filter += 4, at += 3 * length) {
    let a = 0, b = 0, c = 0, d = 0;
    for (let k = 0; k < length; k++, at++) {
      const value = patch[k];
      a += value * weights[at];
      b += value * weights[at + length];
      c += value * weights[at + 2 * length];
      d += value * weights[at + 3 * length];
    }
    sums[filter] = a;
    sums[filter + 1] = b;
    sums[filter + 2] = c;
    sums[filter + 3] = d;
  }
  for (; filter < sums.length; filter++) {
    let total = 0;
    for (let k = 0; k < length; k++, at++) total += patch[k] * weights[at];
    sums[filter] = total;
  }
}

function pooling(join, start, finish) {
  return ([{ shape, data }], out, attributes) => {
    const kernel = attributes.kernel_shape, under = product(kernel), area = product(shape.slice(2));
    const window = windows(shape.slice(2), out.shape.slice(2), kernel, attributes);
    return () => {
      for (let plane = 0, place = 0; place < out.data.length; plane++) {
        for (let w = 0; w < window.length; ) {
          let total = start, count = 0;
          for (const end = w + under; w < end; w++) {
            if (window[w] < 0) continue;
            total = join(total, data[plane * area + window[w]]);
            count++;
          }
          out.data[place++] = finish(total, attributes.count_include_pad ? under : count);
        }
      }
    };
  };
}

function axesOf([{ shape }, given], { axes }) {
  const named = given ? given.data : axes ?? shape.map((_, axis) => axis);
  return named.map((axis) => (axis + shape.length) % shape.length);
}

function reduction({ shape, data }, out, axes, join, start) {
  const kept = shape.map((side, axis) => (axes.includes(axis) ? 1 : side));
  const to = spread(kept, shape);
  return () => {
    out.data.fill(start);
    for (let k = 0; k < data.length; k++) out.data[to[k]] = join(out.data[to[k]], data[k]);
  };
}

function mean(inputs, out, attributes) {
  const sum = reduction(inputs[0], out, axesOf(inputs, attributes), add, 0);
  const share = out.data.length / inputs[0].data.length;
  return () => {
    sum();
    for (let k = 0; k < out.data.length; k++) out.data[k] *= share;
  };
}

// alpha · left · right + beta · bias. Rows of the right matrix that meet a zero are passed by: half, after a Relu.
function product2d(left, right, bias, out, { alpha = 1, beta = 1, transA = 0, transB = 0 }) {
  const columns = out.shape[out.shape.length - 1], rows = out.data.length / columns, inner = left.data.length / rows;
  const wanted = transB ? flipped(right) : right.data;
  const added = bias ? spread(bias.shape, out.shape) : null, sums = new Float64Array(columns);
  return () => {
    for (let row = 0; row < rows; row++) {
      sums.fill(0);
      for (let k = 0; k < inner; k++) {
        const value = left.data[transA ? k * rows + row : row * inner + k];
        if (value === 0) continue;
        for (let column = 0, at = k * columns; column < columns; column++, at++) sums[column] += value * wanted[at];
      }
      for (let column = 0; column < columns; column++) {
        const place = row * columns + column;
        out.data[place] = alpha * sums[column] + (bias ? beta * bias.data[added[place]] : 0);
      }
    }
  };
}

function flipped({ shape: [rows, columns], data }) {
  return Float32Array.from(data, (_, k) => data[(k % rows) * columns + Math.floor(k / rows)]);
}

function softmax([{ shape, data }], out) {
  const last = shape[shape.length - 1];
  return () => {
    for (let start = 0; start < data.length; start += last) {
      const row = data.subarray(start, start + last), most = Math.max(...row);
      const powers = Array.from(row, (value) => Math.exp(value - most));
      const total = powers.reduce((one, other) => one + other, 0);
      powers.forEach((power, k) => { out.data[start + k] = power / total; });
    }
  };
}
