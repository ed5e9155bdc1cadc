package main

import (
	"bufio"
	"encoding/json"
	"math/rand"
	"net/http"
	"os"
	"sort"
	"sync"

	"github.com/coder/hnsw"
)

// index is one corpus: a graph with the parameters that the library recommends, which the original used.
type index struct {
	lock     sync.RWMutex
	graph    *hnsw.Graph[string]
	vectors  map[string][]float32
	metadata map[string]json.RawMessage
}

type record struct {
	ID       string          `json:"id"`
	Vector   []float32       `json:"vector"`
	Metadata json.RawMessage `json:"metadata"`
}

func loadIndex(path string) (*index, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	made := &index{graph: hnsw.NewGraph[string](), vectors: map[string][]float32{}, metadata: map[string]json.RawMessage{}}
	made.graph.Rng = rand.New(rand.NewSource(1))
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var item record
		if err := json.Unmarshal(lines.Bytes(), &item); err != nil {
			return nil, err
		}
		made.graph.Add(hnsw.MakeNode(item.ID, item.Vector))
		made.vectors[item.ID], made.metadata[item.ID] = item.Vector, item.Metadata
	}
	return made, lines.Err()
}

type searchRequest struct {
	QueryText string   `json:"query_text"`
	Corpora   []string `json:"corpora"`
	K         int      `json:"k"`
	Model     string   `json:"model"`
}

type hit struct {
	ID       string          `json:"id"`
	Distance float32         `json:"distance"`
	Corpus   string          `json:"corpus"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

type searchAnswer struct {
	Results         []hit          `json:"results"`
	PerCorpus       map[string]int `json:"per_corpus"`
	DroppedByFilter int            `json:"dropped_by_filter"`
}

func (i *index) search(embedder *embedder) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var request searchRequest
		if !decode(w, r, &request) {
			return
		}
		if request.K == 0 {
			request.K = 10
		}
		query, err := embedder.embed(r.Context(), request.Model, request.QueryText)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		answer := searchAnswer{Results: []hit{}, PerCorpus: map[string]int{}}
		for _, corpus := range request.Corpora {
			hits := i.nearest(query.numbers, request.K, corpus)
			answer.PerCorpus[corpus] = len(hits)
			answer.Results = append(answer.Results, hits...)
		}
		sort.SliceStable(answer.Results, func(a, b int) bool { return answer.Results[a].Distance < answer.Results[b].Distance })
		encode(w, answer)
	}
}

func (i *index) nearest(query []float32, k int, corpus string) []hit {
	i.lock.RLock()
	defer i.lock.RUnlock()
	nodes := i.graph.Search(query, k)
	hits := make([]hit, 0, len(nodes))
	for _, node := range nodes {
		distance := hnsw.CosineDistance(query, node.Value)
		hits = append(hits, hit{ID: node.Key, Distance: distance, Corpus: corpus, Metadata: i.metadata[node.Key]})
	}
	sort.Slice(hits, func(a, b int) bool { return hits[a].Distance < hits[b].Distance })
	return hits
}

// recall compares what the graph finds with what is nearest: the share of the true nearest k.
func (i *index) recall(embedder *embedder) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var request searchRequest
		if !decode(w, r, &request) {
			return
		}
		query, err := embedder.embed(r.Context(), request.Model, request.QueryText)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		distances := make([]float32, 0, len(i.vectors))
		for _, vector := range i.vectors {
			distances = append(distances, hnsw.CosineDistance(query.numbers, vector))
		}
		sort.Slice(distances, func(a, b int) bool { return distances[a] < distances[b] })
		limit, found := distances[request.K-1], 0
		for _, hit := range i.nearest(query.numbers, request.K, "") {
			if hit.Distance <= limit {
				found++
			}
		}
		encode(w, map[string]float64{"recall": float64(found) / float64(request.K)})
	}
}

func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<20)).Decode(into); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func encode(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
