// Command matrix does the work of `/v1/matrix/search` and `/v1/embed` with the vector library of the original system,
// behind the reverse proxy of Go's standard library: one process with -serve, one with -proxy.
package main

import (
	"flag"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

func main() {
	listen := flag.String("listen", "", "address to listen at")
	proxy := flag.String("proxy", "", "URL behind the reverse proxy; empty: serve")
	vectors := flag.String("vectors", "", "file of records, one JSON object a line: id, vector, metadata")
	ollama := flag.String("ollama", "", "URL of Ollama, for embeddings")
	model := flag.String("model", "", "embedding model")
	flag.Parse()
	handler, err := makeHandler(*proxy, *vectors, *ollama, *model)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: *listen, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func makeHandler(proxy, vectors, ollama, model string) (http.Handler, error) {
	if proxy != "" {
		target, err := url.Parse(proxy)
		if err != nil {
			return nil, err
		}
		reverse := httputil.NewSingleHostReverseProxy(target)
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 4096, 4096 // the default, 2, would reconnect all the time
		transport.DisableCompression = true
		reverse.Transport = transport
		return http.StripPrefix("/v1", reverse), nil
	}
	index, err := loadIndex(vectors)
	if err != nil {
		return nil, err
	}
	embedder := newEmbedder(ollama, model)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /matrix/search", index.search(embedder))
	mux.HandleFunc("POST /matrix/recall", index.recall(embedder))
	mux.HandleFunc("POST /embed", embedder.serve)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"status":"ok"}`)) })
	return mux, nil
}
