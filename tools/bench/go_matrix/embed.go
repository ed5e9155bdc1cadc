package main

import (
	"bytes"
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
)

const cacheSize = 10_000 // the original's default

// embedder has the vectors of texts from Ollama, one call a text, and keeps the most recently used ones.
type embedder struct {
	url, model string
	lock       sync.Mutex
	known      map[cacheKey]*list.Element
	order      *list.List
}

type cacheKey struct {
	model string
	text  [sha256.Size]byte
}

type embedding struct {
	key     cacheKey
	numbers []float32
}

func newEmbedder(url, model string) *embedder {
	return &embedder{url: url, model: model, known: map[cacheKey]*list.Element{}, order: list.New()}
}

func (e *embedder) embed(ctx context.Context, model, text string) (*embedding, error) {
	if model == "" {
		model = e.model
	}
	key := cacheKey{model, sha256.Sum256([]byte(text))}
	e.lock.Lock()
	element := e.known[key]
	if element != nil {
		e.order.MoveToFront(element)
	}
	e.lock.Unlock()
	if element != nil {
		return element.Value.(*embedding), nil
	}
	numbers, err := e.ask(ctx, model, text)
	if err != nil {
		return nil, err
	}
	made := &embedding{key, numbers}
	e.lock.Lock()
	defer e.lock.Unlock()
	e.known[key] = e.order.PushFront(made)
	if e.order.Len() > cacheSize {
		oldest := e.order.Remove(e.order.Back()).(*embedding)
		delete(e.known, oldest.key)
	}
	return made, nil
}

func (e *embedder) ask(ctx context.Context, model, text string) ([]float32, error) {
	body, err := json.Marshal(map[string]string{"model": model, "prompt": text})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+"/api/embeddings", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ollama answered %s", response.Status)
	}
	var answer struct {
		Embedding []float32 `json:"embedding"`
	}
	err = json.NewDecoder(response.Body).Decode(&answer)
	return answer.Embedding, err
}

type embedRequest struct {
	Texts []string `json:"texts"`
	Model string   `json:"model"`
}

type embedAnswer struct {
	Model     string      `json:"model"`
	Dimension int         `json:"dimension"`
	Vectors   [][]float32 `json:"vectors"`
}

func (e *embedder) serve(w http.ResponseWriter, r *http.Request) {
	var request embedRequest
	if !decode(w, r, &request) {
		return
	}
	answer := embedAnswer{Model: request.Model, Vectors: [][]float32{}}
	if request.Model == "" {
		answer.Model = e.model
	}
	for _, text := range request.Texts {
		made, err := e.embed(r.Context(), request.Model, text)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		answer.Vectors, answer.Dimension = append(answer.Vectors, made.numbers), len(made.numbers)
	}
	encode(w, answer)
}
