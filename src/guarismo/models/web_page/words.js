// The page's words in each language; what stands in braces is filled in.

export const LANGUAGES = { en: "English", es: "Español", pt: "Português" };

const WORDS = {
  en: {
    language: "Language",
    title: "Draw a digit",
    titleOther: "What is it?",
    lead: "It is read while you draw, by your own browser. Nothing leaves this page.",
    leadOther: "Draw, or choose a picture: your own browser answers. Nothing leaves this page.",
    waiting: "The network is being fetched. Opened as a file, a page may not fetch it: put the folder on a web server, or run python -m http.server in it.",
    pad: "Drawing",
    padHint: "Pad to draw on with pen, finger or mouse. Without one, choose a picture.",
    clear: "Clear",
    undo: "Undo",
    file: "Choose a picture",
    invert: "Swap dark and light",
    answer: "Answer",
    seen: "What the network sees, {width} by {height} pixels",
    bars: "Probability of each class",
    certain: "{share} · {time} ms",
    nothing: "Nothing drawn yet",
    empty: "There is no ink in this picture. Choose one with dark writing on light paper, or the reverse.",
    unreadable: "This browser cannot open that picture. Choose a JPEG, PNG or WebP.",
    missing: "The network could not be fetched ({reason}). Copy the whole folder to the server: network.json and weights.bin belong to it.",
    differs: "This browser computes otherwise than the run that this page was made of. Do not trust its answers.",
    about: "Model {model}, {parameters} parameters, trained on {data}; {validation} of the validation images right.",
    aboutTested: "Model {model}, {parameters} parameters, trained on {data}; {test} of the test images right.",
    limits: "One digit at a time. Whatever is drawn, one of the classes is the answer: it does not know what is none of them.",
    limitsOther: "Whatever it is shown, one of the classes is the answer: it does not know what is none of them.",
  },
  es: {
    language: "Idioma",
    title: "Dibuja una cifra",
    titleOther: "¿Qué es?",
    lead: "Se lee mientras dibujas, en tu propio navegador. Nada sale de esta página.",
    leadOther: "Dibuja o elige una imagen: responde tu propio navegador. Nada sale de esta página.",
    waiting: "Se está cargando la red. Abierta como archivo, la página no puede cargarla: pon la carpeta en un servidor web o ejecuta en ella python -m http.server.",
    pad: "Dibujo",
    padHint: "Superficie para dibujar con lápiz, dedo o ratón. Si no tienes, elige una imagen.",
    clear: "Borrar",
    undo: "Deshacer",
    file: "Elegir una imagen",
    invert: "Invertir claro y oscuro",
    answer: "Respuesta",
    seen: "Lo que ve la red, {width} por {height} píxeles",
    bars: "Probabilidad de cada clase",
    certain: "{share} · {time} ms",
    nothing: "Aún no hay nada dibujado",
    empty: "No hay tinta en esta imagen. Elige una con trazo oscuro sobre papel claro, o al revés.",
    unreadable: "Este navegador no puede abrir esa imagen. Elige un JPEG, PNG o WebP.",
    missing: "No se pudo cargar la red ({reason}). Copia la carpeta entera al servidor: network.json y weights.bin forman parte de ella.",
    differs: "Este navegador calcula de otro modo que el entrenamiento del que se hizo esta página. No te fíes de sus respuestas.",
    about: "Modelo {model}, {parameters} parámetros, entrenado con {data}; acierta {validation} de las imágenes de validación.",
    aboutTested: "Modelo {model}, {parameters} parámetros, entrenado con {data}; acierta {test} de las imágenes de prueba.",
    limits: "Una cifra cada vez. Se dibuje lo que se dibuje, responde con una de las clases: no sabe qué no es ninguna de ellas.",
    limitsOther: "Se le muestre lo que se le muestre, responde con una de las clases: no sabe qué no es ninguna de ellas.",
  },
  pt: {
    language: "Idioma",
    title: "Desenhe um algarismo",
    titleOther: "O que é?",
    lead: "É lido enquanto você desenha, no seu próprio navegador. Nada sai desta página.",
    leadOther: "Desenhe ou escolha uma imagem: o seu próprio navegador responde. Nada sai desta página.",
    waiting: "A rede está sendo carregada. Aberta como arquivo, a página não pode carregá-la: ponha a pasta em um servidor web ou execute nela python -m http.server.",
    pad: "Desenho",
    padHint: "Área para desenhar com caneta, dedo ou mouse. Sem eles, escolha uma imagem.",
    clear: "Limpar",
    undo: "Desfazer",
    file: "Escolher uma imagem",
    invert: "Inverter claro e escuro",
    answer: "Resposta",
    seen: "O que a rede vê, {width} por {height} pixels",
    bars: "Probabilidade de cada classe",
    certain: "{share} · {time} ms",
    nothing: "Nada desenhado ainda",
    empty: "Não há tinta nesta imagem. Escolha uma com traço escuro em papel claro, ou o contrário.",
    unreadable: "Este navegador não consegue abrir essa imagem. Escolha um JPEG, PNG ou WebP.",
    missing: "Não foi possível carregar a rede ({reason}). Copie a pasta inteira para o servidor: network.json e weights.bin fazem parte dela.",
    differs: "Este navegador calcula de outro modo que o treinamento do qual esta página foi feita. Não confie nas respostas dele.",
    about: "Modelo {model}, {parameters} parâmetros, treinado com {data}; acerta {validation} das imagens de validação.",
    aboutTested: "Modelo {model}, {parameters} parâmetros, treinado com {data}; acerta {test} das imagens de teste.",
    limits: "Um algarismo de cada vez. O que quer que se desenhe, ela responde com uma das classes: não sabe o que não é nenhuma delas.",
    limitsOther: "O que quer que veja, ela responde com uma das classes: não sabe o que não é nenhuma delas.",
  },
};

// The language that the reader chose before, else the browser's, else English.
export function preferred() {
  const chosen = [remembered(), ...navigator.languages.map((tag) => tag.slice(0, 2))];
  return chosen.find((code) => code in LANGUAGES) ?? "en";
}

function remembered() {
  try {
    return localStorage.getItem("guarismo-language");
  } catch {
    return null;  // a browser may forbid to keep anything
  }
}

export function remember(code) {
  try {
    localStorage.setItem("guarismo-language", code);
  } catch { /* then it asks the browser again next time */ }
}

export function speaker(code) {
  const decimal = new Intl.NumberFormat(code, { maximumFractionDigits: 1, minimumFractionDigits: 1 });
  return {
    code,
    say: (key, values = {}) => WORDS[code][key].replace(/\{(\w+)\}/g, (_, name) => values[name]),
    count: (number) => new Intl.NumberFormat(code, { useGrouping: "always" }).format(number),
    tenths: (number) => decimal.format(number),
    percent: (share, places = 1) =>
      `${new Intl.NumberFormat(code, { maximumFractionDigits: places, minimumFractionDigits: places }).format(100 * share)}\u202f%`,
  };
}
